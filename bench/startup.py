"""Processes that only want to know or say something. One JSON line; the work is in greenroom.runtime.benchmarks.startup."""

from greenroom.runtime.benchmarks.command import main

if __name__ == "__main__":
    main("startup")
