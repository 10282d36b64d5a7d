from greenroom.runtime.benchmarks.command import main

if __name__ == "__main__":
    main("limit")
