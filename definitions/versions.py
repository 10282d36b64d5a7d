"""`Version`: one name, several implementations, the last of them for what starts now.

    class WelcomeFlow(Version):
        def versions(self):
            return [WelcomeFlowV1, WelcomeFlowV2]

An instance keeps the implementation it began with, whatever is added behind it.
"""

from __future__ import annotations

from typing import Any

from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.injection import location
from greenroom.definitions.programs import Unmade, Workflow


class Version(Workflow):
    """A workflow that stands for the last of its `versions()`. Its arguments are theirs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._implementation = self.current()(*args, **kwargs)

    def versions(self) -> list[type[Workflow]]:
        """The implementations, oldest first: version 1, 2, ..."""
        raise InvalidDefinition(f"{type(self).__name__} has no versions()   {location(type(self))}")

    def handle(self) -> Any:
        return self._subject().handle()

    @classmethod
    def current(cls) -> type[Workflow]:
        return implementations(cls)[-1]

    @classmethod
    def initial(cls) -> type[Workflow]:
        return implementations(cls)[0]

    def current_implementation(self) -> Workflow:
        """The object of the last version that this one stands for."""
        return self._subject()

    def _subject(self) -> Workflow:
        made: Workflow | Unmade = self._implementation
        if isinstance(made, Unmade):
            made.refuse()
        return made


def implementations(cls: type[Version]) -> list[type[Workflow]]:
    """The checked list of versions."""
    listed = object.__new__(cls).versions()
    place = location(cls)
    if not isinstance(listed, list | tuple) or not listed:
        raise InvalidDefinition(
            f"{cls.__name__}.versions() must give a list of workflow classes, got {listed!r}   {place}"
        )
    for found in listed:
        if not isinstance(found, type) or not issubclass(found, Workflow):
            raise InvalidDefinition(
                f"{cls.__name__}.versions() has {found!r}, which is not a class of Workflow   {place}"
            )
        if issubclass(found, Version):
            raise InvalidDefinition(
                f"{cls.__name__}.versions() has {found.__name__}, which has versions itself   {place}"
            )
    if len(set(listed)) != len(listed):
        raise InvalidDefinition(f"{cls.__name__}.versions() has a class twice   {place}")
    return list(listed)
