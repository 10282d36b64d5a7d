"""Ten thousand timers in the same second. One JSON line; the work is in greenroom.runtime.benchmarks.timers."""

from greenroom.runtime.benchmarks.command import main

if __name__ == "__main__":
    main("timers")
