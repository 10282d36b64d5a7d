"""What a step costs that waits for the one before it. One JSON line; the work is in greenroom.runtime.benchmarks.sequential."""

from greenroom.runtime.benchmarks.command import main

if __name__ == "__main__":
    main("sequential")
