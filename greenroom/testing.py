"""The testing kit; see `greenroom.runtime.testing`."""

from greenroom.runtime.testing import TestEngine, run

__all__ = ["TestEngine", "run"]
