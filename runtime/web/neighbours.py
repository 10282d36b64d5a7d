"""Who a connection from this machine belongs to, as the kernel says.

A Unix socket tells its peer's user; TCP does not, but Linux lists every connection with its owner.
So where programs of this machine need no key (`dev`, `--http-open`), what people do there is
recorded under the same name as on the socket: `uid:1000/ann`. Another user of the machine is
`local:1001/bob`: only the owner of the daemon counts as its owner.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import sys
from pathlib import Path
from typing import Final

from greenroom.runtime.server import actor_of

TABLES: Final = {4: Path("/proc/net/tcp"), 6: Path("/proc/net/tcp6")}


def owner_of(client: tuple[str, int], server: tuple[str, int]) -> str | None:
    """The actor whose end of the connection `client` is; None where the system does not say.
    Looked up each time: a port is soon another connection's."""
    with contextlib.suppress(OSError, ValueError):
        ends = (_end(client), _end(server))
        for line in TABLES[ipaddress.ip_address(client[0]).version].read_text().splitlines()[1:]:
            words = line.split()
            if (words[1], words[2]) == ends:
                by = actor_of(int(words[7]))
                return by if int(words[7]) == os.getuid() else by.replace("uid:", "local:", 1)
    return None


def _end(address: tuple[str, int]) -> str:
    """An end of a connection as the kernel writes it: words of four bytes in its own order."""
    packed = ipaddress.ip_address(address[0]).packed
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return f"{b''.join(words).hex().upper()}:{address[1]:04X}"
