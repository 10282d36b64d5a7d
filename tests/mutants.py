"""`python tests/mutants.py`: plants faults and sees whether the tests notice."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # not tests/: that is no package root
    from tests.mutants.campaign import main

    sys.exit(main())
