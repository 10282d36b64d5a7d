"""How many steps a second become durable? One JSON line; the work is in greenroom.runtime.benchmarks.steps."""

from greenroom.runtime.benchmarks.command import main

if __name__ == "__main__":
    main("steps")
