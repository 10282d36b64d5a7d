"""A machine under load is slow; that is no finding."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("greenroom", deadline=None)
settings.load_profile("greenroom")
