"""The pytest plugin: the fixture `engine`, a `TestEngine` that is open for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest


@pytest.fixture
async def engine(anyio_backend: object) -> AsyncIterator[object]:
    """An open `TestEngine`: memory store, virtual clock. Register workflows on it."""
    from greenroom.runtime.testing import TestEngine  # noqa: PLC0415  only tests that use it pay

    async with TestEngine() as opened:
        yield opened
