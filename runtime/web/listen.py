"""HTTP on sockets: uvicorn's protocol, given to connections of ours.

The daemon's socket hands a connection over when its first byte is that of HTTP; a TCP listener
makes every connection one. No `uvicorn.Server`: signals, start and drain are the daemon's. Which
of uvicorn's classes are used here is all that ties us to it (`>=0.54,<0.60`, a test of its own).

What is refused before a request is whole: a head longer than its limit, one that takes too long,
and more connections than there may be.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime.web.app import Web
from greenroom.runtime.web.guard import NEIGHBOUR, PEER
from greenroom.runtime.web.limits import HttpLimits

_log = logging.getLogger(__name__)

BACKLOG: Final = 1_024


class Listener:
    """Serves one application; `protocol` for a connection that is there, `listen` for a port."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self._config = Config(
            web, http="httptools", ws="none", lifespan="off", interface="asgi3", log_config=None,
            access_log=False, proxy_headers=False, server_header=False,
            timeout_keep_alive=round(web.rules.limits.keep_alive_s),
            limit_concurrency=web.rules.limits.connections,
        )  # fmt: skip
        self._config.load()
        self._state = ServerState()
        self._servers: list[asyncio.Server] = []

    def protocol(self, by: str | None = None) -> asyncio.Protocol:
        """The protocol of one connection; `by` is its peer, as the kernel says."""
        return Connection(self._config, self._state, self.web.rules.limits, by)

    async def listen(self, host: str, port: int) -> str:
        """Serves a TCP port; gives its address, `http://127.0.0.1:8420`."""
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(self.protocol, host, port, backlog=BACKLOG)
        except OSError as error:
            raise InvalidRequest(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                hint="choose another port with --http",
            ) from None
        self._servers.append(server)
        bound = server.sockets[0].getsockname()
        shown = f"[{bound[0]}]" if server.sockets[0].family == socket.AF_INET6 else bound[0]
        self.web.url = f"http://{shown}:{bound[1]}"
        self.web.engine.links.serve(self.web.url)
        return self.web.url

    async def drain(self, timeout_s: float) -> None:
        """Accepts nothing new, ends feeds, and waits for requests in work."""
        self.web.stop()
        for server in self._servers:
            server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=timeout_s)

    async def close(self) -> None:
        """Ends everything. Idempotent."""
        self.web.stop()
        for server in self._servers:
            server.close()
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        for connection in list(self._state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


class Connection(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self, config: Config, state: ServerState, limits: HttpLimits, by: str | None
    ) -> None:
        super().__init__(config, state, {PEER: by} if by is not None else {NEIGHBOUR: {}})
        self._limits = limits
        self._in_head = False
        self._begun = 0
        """Requests whose first byte has come."""
        self._head_bytes = 0
        self._slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._slow = self.loop.call_later(self._limits.header_s, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        begun, was_in_head = self._begun, self._in_head
        super().data_received(data)
        if self._in_head and self._slow is None:
            self._slow = self.loop.call_later(self._limits.header_s, self._too_slow)
        if self._in_head and was_in_head and self._begun == begun:
            # all of it belongs to one head, which goes on
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.header_bytes + self._limits.url_bytes:
                self._end(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun += 1
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._calm()
        super().on_headers_complete()

    def _too_slow(self) -> None:
        self._slow = None
        if self.transport.is_closing():
            return
        if self._in_head:
            self._end(b"408 Request Timeout")
        else:  # not a byte has come
            self.transport.close()

    def _calm(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _end(self, status: bytes) -> None:
        self._calm()
        self.transport.write(
            b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status
        )
        self.transport.close()
