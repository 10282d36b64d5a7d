"""What a service manager is told and gives: readiness, heartbeat, sockets, and our unit files.

The protocol is one datagram of `KEY=value` lines; it needs no library.
"""

from __future__ import annotations

import os
import shlex
import socket
import time
from typing import Final

from greenroom.runtime.places import own_command

_FIRST_FD: Final = 3


def notify(**fields: object) -> bool:
    """Tells the service manager, as in `notify(READY=1, STATUS="recovered 3")`. False if there is
    none; a manager that is gone is no reason to stop."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or address[0] not in "@/":
        return False
    if address[0] == "@":
        address = "\0" + address[1:]
    text = "\n".join(f"{key}={value}" for key, value in fields.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(text.encode(), address)
        except OSError:
            return False
    return True


def reloading() -> bool:
    """`RELOADING=1` needs the time, so that the manager can tell this reload from an older one."""
    return notify(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)


def watchdog_s() -> float | None:
    """How often the manager wants a sign of life; give two in that time."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 1_000_000
    except (KeyError, ValueError):
        return None


def listen_sockets() -> list[socket.socket]:
    """The listening Unix sockets that were handed over (socket activation); taken once."""
    if os.environ.pop("LISTEN_PID", None) != str(os.getpid()):
        return []
    count = int(os.environ.pop("LISTEN_FDS", "0") or 0)
    os.environ.pop("LISTEN_FDNAMES", None)
    found = []
    for fd in range(_FIRST_FD, _FIRST_FD + count):
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        if sock.family == socket.AF_UNIX and sock.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        ):
            sock.setblocking(False)
            found.append(sock)
        else:
            sock.close()
    return found


def service_unit(what: list[str], *, user: bool = False) -> str:
    """The `.service` file of a daemon that serves `what`."""
    command = shlex.join([*own_command(), "serve", *what])
    # a person's own service works in their home; a system service has no business there
    home = "" if user else "DynamicUser=yes\nProtectHome=yes\n"
    return f"""\
[Unit]
Description=Greenroom workflow daemon
Requires=greenroom.socket
After=greenroom.socket network.target
StartLimitIntervalSec=60
StartLimitBurst=5

[Service]
Type=notify
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
WorkingDirectory={os.getcwd()}
Restart=on-failure
RestartSec=1
# definitions wrong, store damaged, locked by another: starting again mends nothing
RestartPreventExitStatus=2 65 73
WatchdogSec=30
TimeoutStopSec=40
StateDirectory=greenroom
StateDirectoryMode=0700
Environment=GREENROOM_DATA=%S/greenroom
UMask=0077
LimitCORE=0
LimitNOFILE=65536
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
{home}
[Install]
WantedBy={"default.target" if user else "multi-user.target"}
"""


def socket_unit() -> str:
    """The `.socket` file: posts wait in its backlog while the daemon starts again."""
    return """\
[Unit]
Description=Greenroom socket

[Socket]
ListenStream=%t/greenroom/greenroom.sock
SocketMode=0600
DirectoryMode=0700
Backlog=1024

[Install]
WantedBy=sockets.target
"""
