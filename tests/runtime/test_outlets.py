"""Who carries out what handlers call."""

from __future__ import annotations

from typing import Any

import pytest

from greenroom.runtime.outlets import LogOutlet, SlackOutlet


@pytest.mark.anyio
async def test_outlets_are_known_on_the_event_loop_too(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were asked for by a coroutine on the very loop that then waited for it: nothing came
    back, and a secret that is there seemed not to be."""
    monkeypatch.setenv("GREENROOM_SECRET_SLACK_TOKEN", "xoxb-0123456789")
    assert isinstance(engine.providers["slack"], SlackOutlet)
    assert isinstance(engine.providers["email"], LogOutlet)
