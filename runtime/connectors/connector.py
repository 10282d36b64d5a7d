"""`Connector` as users declare it: that of the definitions."""

from __future__ import annotations

from greenroom.definitions import connectors


class Connector(connectors.Connector):
    """A service: what it can be asked to do, and the events it sends. `id` is what workflows call
    it by (`connector_id`)."""
