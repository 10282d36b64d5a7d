"""`python -m greenroom`: the command, where its script is not on the path."""

import sys

from greenroom.runtime.main import main

if __name__ == "__main__":
    sys.exit(main())
