"""All questions, one after the other, and a table: `greenroom bench`."""

import sys

from greenroom.runtime.main import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
