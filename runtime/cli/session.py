"""One run of the command line: its global options, its connection, its clock, its exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from greenroom.runtime.cli import output
from greenroom.runtime.cli.backend import Backend, connect
from greenroom.runtime.cli.words import count

Data = dict[str, Any]


class Session:
    """Handed to every command. `connect` and `now` are parameters so that tests bring theirs."""

    def __init__(
        self,
        connect: Callable[[str | None, str | None], Backend] = connect,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.server: str | None = None
        self.data: str | None = None
        self.output: output.Format | None = None
        self.debug = False
        self.exit_code = 0
        self.now = now
        self._connect = connect
        self._backend: Backend | None = None

    @property
    def backend(self) -> Backend:
        """Connected at first use: `--help` and wrong usage need no daemon."""
        if self._backend is None:
            self._backend = self._connect(self.server, self.data)
        return self._backend

    def call(self, method: str, **params: Any) -> Any:
        """The result of a method of the socket. Parameters that are None are not sent."""
        given = {name: value for name, value in params.items() if value is not None}
        return self.backend.call(method, **given)

    def close(self) -> None:
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    # -- printing, by the rules of `output` -------------------------------------------------

    @property
    def format(self) -> output.Format:
        return self.output or ("table" if output.terminal() else "jsonl")

    def show(self, value: Any, text: Callable[[], str] | None = None, prose: bool = False) -> None:
        """One answer: `text` for people, itself for programs. Prose stays prose in a pipe."""
        form = self.output or ("table" if prose else self.format)
        if form == "table" and text is not None:
            output.line(text())
        elif form == "json":
            output.document(value)
        else:
            output.record(value)

    def page(
        self,
        page: Any,
        heads: list[str],
        row: Callable[[Data], list[str]],
        noun: str,
        following: str = "",
    ) -> None:
        """A list. `following` is the command that shows what comes after it."""
        items = page["items"] if isinstance(page, dict) else page
        if self.format == "json":
            output.document(page)
            return
        if self.format == "jsonl":
            for item in items:
                output.record(item)
            return
        if items:
            output.table(heads, [row(item) for item in items])
        output.line(_footer(page, len(items), noun))
        if following and isinstance(page, dict) and page.get("cursor"):
            output.line(f"more:  {following} --cursor {page['cursor']}")

    def stream(self, items: Iterable[Data], text: Callable[[Data], str]) -> None:
        """Items as they come. A stream has no end to close a JSON array at: `json` is `jsonl`."""
        for item in items:
            if self.format == "table":
                output.line(text(item))
            else:
                output.record(item)

    def pages(self, method: str, limit: int = 200, **params: Any) -> Iterator[Data]:
        """All items of a list, page by page."""
        cursor: str | None = None
        while True:
            page = self.call(method, limit=limit, cursor=cursor, **params)
            yield from page["items"]
            cursor = page["cursor"]
            if cursor is None:
                return


def _footer(page: Any, shown: int, noun: str) -> str:
    total = page.get("total") if isinstance(page, dict) else None
    if total is not None and total > shown:
        return f"showing {shown:,} of {count(total, noun)}"
    if isinstance(page, dict) and page.get("cursor"):
        return f"showing {count(shown, noun)}, there are more"
    return count(shown, noun) if shown else count(0, noun).replace("0", "no", 1)
