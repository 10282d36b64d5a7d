"""What does an item of a fan-out cost? One JSON line; the work is in greenroom.runtime.benchmarks.scopes."""

from greenroom.runtime.benchmarks.command import main

if __name__ == "__main__":
    main("scopes")
