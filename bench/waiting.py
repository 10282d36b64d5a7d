"""A million waiting instances. One JSON line; the work is in greenroom.runtime.benchmarks.waiting."""

from greenroom.runtime.benchmarks.command import main

if __name__ == "__main__":
    main("waiting")
