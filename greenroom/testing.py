"""The testing kit; see `greenroom.runtime.testing` and `greenroom.runtime.replays`."""

from greenroom.runtime.replays import check_store
from greenroom.runtime.testing import TestEngine, run

__all__ = ["TestEngine", "check_store", "run"]
