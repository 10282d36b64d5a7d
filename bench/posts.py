"""Events over HTTP. One JSON line; the work is in greenroom.runtime.benchmarks.posts."""

from greenroom.runtime.benchmarks.command import main

if __name__ == "__main__":
    main("posts")
