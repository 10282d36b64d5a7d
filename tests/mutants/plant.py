"""The pytest plugin of a mutant's process: `-p tests.mutants.plant` with the name in a variable."""

from __future__ import annotations

import os

from tests.mutants.campaign import MUTANTS
from tests.mutants.registry import VARIABLE

_name = os.environ.get(VARIABLE)
if _name:
    MUTANTS[_name].plant()
