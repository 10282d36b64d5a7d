"""What a bare loop makes of the rows of such a run. One JSON line; the work is in greenroom.runtime.benchmarks.limit."""

from greenroom.runtime.benchmarks.command import main

if __name__ == "__main__":
    main("limit")
