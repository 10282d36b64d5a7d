"""The benchmarks: one module a question, each answering with one JSON object.

They lie inside the package because `greenroom bench` runs them wherever greenroom is installed;
the scripts of `bench/` in the repository call them by name. A module has `SIZES` (its parameters
and what they are without being told), `QUICK` (sizes that take a second or two) and `measure`,
which gets a folder of its own.
"""

from __future__ import annotations
