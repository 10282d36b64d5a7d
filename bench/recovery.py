"""A daemon that was killed comes back. One JSON line; the work is in greenroom.runtime.benchmarks.recovery."""

from greenroom.runtime.benchmarks.command import main

if __name__ == "__main__":
    main("recovery")
