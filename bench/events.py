"""Events over the socket. One JSON line; the work is in greenroom.runtime.benchmarks.events."""

from greenroom.runtime.benchmarks.command import main

if __name__ == "__main__":
    main("events")
