"""Integrations with services of others. There are none in this release."""

__all__: list[str] = []
