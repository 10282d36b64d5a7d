"""An op after many others, and replay. One JSON line; the work is in greenroom.runtime.benchmarks.programs."""

from greenroom.runtime.benchmarks.command import main

if __name__ == "__main__":
    main("programs")
