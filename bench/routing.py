"""One match among few and among many subscriptions. One JSON line; the work is in greenroom.runtime.benchmarks.routing."""

from greenroom.runtime.benchmarks.command import main

if __name__ == "__main__":
    main("routing")
