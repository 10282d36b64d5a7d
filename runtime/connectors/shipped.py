"""The connectors that come with greenroom, each made when somebody asks for it by its id.

`slack_connector(...)`, `pagerduty_connector(...)`, `okta_connector(...)`, `smtp_connector(...)` and
`http_connector(...)` make one with settings of one's own; given to the engine it takes the place of
the one made here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final

from greenroom.definitions.connectors import Connector

SOURCE: Final = "greenroom"

HELP: Final = {
    "http": "requests to any public address",
    "okta": "users and groups",
    "pagerduty": "incidents and who is on call",
    "slack": "messages and people",
    "smtp": "mail",
}


def _maker(name: str) -> Callable[[], Connector]:
    def make() -> Connector:
        module: Any = importlib.import_module(f"greenroom.runtime.connectors.{name}_connector")
        found: Connector = getattr(module, f"{name}_connector")()
        return found

    return make


SHIPPED: Final[dict[str, Callable[[], Connector]]] = {name: _maker(name) for name in HELP}
