"""`greenroom serve`: one process that owns a data directory and answers on its socket.

Start: close the process's doors (umask, core dumps), see that nobody owns the directory, load the
author's code, open the engine (which takes the lock and recovers), listen, say `ready`. Stop, on
SIGTERM or SIGINT: accept nothing new, answer what was begun, let running steps end, close the
store. What is not done after 30 seconds is left to the recovery of the next start, which is the
path that is tested hardest.

SIGHUP reads documents and configuration again; Python code is loaded once a process, for the
instances in memory hold on to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import importlib.util
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from greenroom.actors.entries import Failure
from greenroom.actors.messages import Park
from greenroom.definitions.errors import (
    GreenroomError,
    Locked,
    StoreError,
)
from greenroom.runtime import lock, systemd
from greenroom.runtime.places import SOCKET_NAME, check_socket_path, private_directory
from greenroom.runtime.secrets import take_environment
from greenroom.runtime.server import Server
from greenroom.runtime.socketfile import SocketFile, bind
from greenroom.runtime.watchdog import Watchdog
from greenroom.runtime.web import mount

if TYPE_CHECKING:
    from greenroom.runtime.web.listen import Listener

_log = logging.getLogger(__name__)

DRAIN_S: Final = 30.0
DAMAGED: Final = 65
LOCKED: Final = 73
IO_ERROR: Final = 74
GRACE: Final = 0.8
"""The part of the time to drain that running steps have; the rest is for closing the store."""
LINGER_S: Final = 1.0
"""So long threads of steps have to end when all else has ended."""
SOCKET_CHECK_S: Final = 5.0

LogFormat = Literal["auto", "json", "console"]
OpenEngine = Callable[..., Any]


class Http(msgspec.Struct, frozen=True, kw_only=True):
    """What a daemon is told about HTTP. `address` is `HOST:PORT`; None: on its socket alone."""

    address: str | None = None
    remote: bool = False
    """It may be an address others can reach: a proxy with TLS is in front."""
    hosts: tuple[str, ...] = ()
    """Names in the Host header, beside those of this machine."""
    open: bool = False
    """Programs of this machine need no key."""
    proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies that are believed about who asks."""
    tls: bool = False
    """Browsers come through TLS."""
    origins: tuple[str, ...] = ()
    """Sites whose scripts may ask, with a key."""
    oidc: str | None = None
    """`ISSUER` of tokens that are taken as keys are."""
    audience: str | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a daemon is told on its command line."""

    what: tuple[str, ...]
    data: Path
    socket: Path | None = None
    promote: bool = True
    sync: bool = True
    log_format: LogFormat = "auto"
    drain_s: float = DRAIN_S
    watchdog: bool = True
    http: Http | None = None
    edit: bool = False
    """Files of stage graphs may be written: for who develops, never for who serves others."""
    public_url: str | None = None
    """Where people reach its pages, for the links in messages; its own address unless told."""

    @property
    def socket_path(self) -> Path:
        return (self.socket or self.data / SOCKET_NAME).absolute()


def serve(
    what: Sequence[str],
    *,
    data: Path,
    socket: Path | None = None,
    http: Http | None = None,
    promote: bool = True,
    sync: bool = True,
    log_format: LogFormat = "auto",
    drain_s: float = DRAIN_S,
    edit: bool = False,
    public_url: str | None = None,
) -> int:
    """Runs until a signal; gives the exit code.

    65: the store is damaged. 73: another process owns it. 74: reading or writing failed. Raises
    `GreenroomError` for what is wrong with the request or the definitions.
    """
    begun = time.monotonic()
    mount.check(http or Http())
    settings = Settings(
        what=tuple(what),
        data=data,
        socket=socket,
        promote=promote,
        sync=sync,
        log_format=log_format,
        drain_s=drain_s,
        http=http or Http(),
        edit=edit,
        public_url=public_url,
    )
    shut_doors()
    try:
        check_socket_path(settings.socket_path)
        private_directory(data)
        # a second daemon is told at once: before imports of ours and the author's that take long
        lock.acquire(lock.path_of(data), what=str(data)).release()
        workflows = _prepare(settings)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code = runner.run(_serve(settings, workflows, begun))
            _leave_behind(code)
            return code
    except Locked as error:
        return _complain(error, LOCKED)
    except StoreError as error:
        return _complain(error, DAMAGED if error.exit_code == DAMAGED else IO_ERROR)
    except OSError as error:
        return _complain(StoreError(str(error)), IO_ERROR)


def _prepare(settings: Settings) -> list[object]:
    """Logs go to stderr from here on; gives the workflows."""
    from greenroom.runtime import logs  # noqa: PLC0415  see above
    from greenroom.runtime.loading import load  # noqa: PLC0415  see above
    from greenroom.runtime.trust import check_files  # noqa: PLC0415  see above

    logs.setup(settings.log_format)
    if not settings.edit:
        check_files(settings.what)
    return load(settings.what)


def shut_doors() -> None:
    """Files of this process are its own, its memory is not dumped, its secrets are not inherited,
    and it may hold many sockets."""
    os.umask(0o077)
    take_environment()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, if the `fast` extra is installed."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop]
    factory = importlib.import_module("uvloop").new_event_loop
    return factory


def _complain(error: GreenroomError, code: int) -> int:
    lines = [f"error {error.code}: {error.message}", *(error.hint or "").splitlines()]
    sys.stderr.write("\n  ".join(lines) + "\n")
    return code


async def _serve(settings: Settings, workflows: list[object], begun: float) -> int:
    from greenroom.runtime.engine import Engine  # noqa: PLC0415  the CLI must not wait for it

    calm_collector()
    return await run(Engine.open, settings, workflows, begun)


async def run(
    open_engine: OpenEngine,
    settings: Settings,
    workflows: list[object],
    begun: float,
    out: Callable[[str], object] = sys.stdout.write,
) -> int:
    """Opens, serves and drains; `open_engine` is `Engine.open`."""
    signals = _Signals()
    fatal = partial(_fatal, settings)
    with signals.handled(), contextlib.ExitStack() as at_last:
        async with open_engine(
            settings.data,
            workflows=workflows,
            promote=settings.promote,
            sync=settings.sync,
            on_fatal=fatal,
        ) as engine:
            engine.stages.read_only = not settings.edit
            web = _web(engine, settings)
            server = Server(engine, http=None if web is None else web.protocol)
            async with (
                _watched(engine, settings),
                _listening(server, settings) as path,
                _web_listening(web, settings) as url,
            ):
                engine.public_url = settings.public_url or (url if url != "-" else None)
                recovered = engine.directory.recovered
                info = await engine.info()
                took_ms = round((time.monotonic() - begun) * 1000)
                out(
                    f"ready socket={path} http={url} pid={os.getpid()} epoch={info.epoch} "
                    f"recovered={recovered} ms={took_ms}\n"
                )
                sys.stdout.flush()
                systemd.notify(READY=1, STATUS=f"recovered {recovered} instances")
                await _until_told(signals, engine, settings)
                systemd.notify(STOPPING=1)
                at_last.enter_context(_time_limit(settings.drain_s))
                await _drain(server, web, engine, settings.drain_s * GRACE)
    return 0


def calm_collector() -> None:
    """What is loaded by now stays, and a burst of events is no garbage: the collector looks less
    often, and only at what came since. A thousand events on their way are some 50,000 objects that
    all go by themselves: looking before they have gone is work for nothing. Nothing of ours is left
    to it; cycles of authors' code are found later. This process is ours; one that only embeds the
    engine is left as it is."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _fatal(settings: Settings, error: BaseException) -> None:
    """The store cannot be trusted any more. Nobody is answered after this; the next start reads
    what is really on the disk."""
    _log.critical("the store failed: %s", error)
    note = {"at": time.time(), "pid": os.getpid(), "error": f"{type(error).__name__}: {error}"}
    with contextlib.suppress(OSError):
        (settings.data / "crash.json").write_bytes(msgspec.json.encode(note))
    os._exit(IO_ERROR)


async def _until_told(signals: _Signals, engine: Any, settings: Settings) -> None:
    from greenroom.runtime.reloading import reload_and_tell  # noqa: PLC0415  the CLI's start

    while await signals.next() == signal.SIGHUP:
        systemd.reloading()
        _log.info(await reload_and_tell(engine, settings.what, settings.promote))
        systemd.notify(READY=1)


def _web(engine: Any, settings: Settings) -> Listener | None:
    """The HTTP face; None without its extra."""
    http = settings.http
    if http is None or not mount.is_installed():
        return None
    return mount.listener(engine, http)


@contextlib.asynccontextmanager
async def _web_listening(web: Listener | None, settings: Settings) -> AsyncIterator[str]:
    """Listens on the port that was asked for; gives its address, or `-`."""
    try:
        http = settings.http
        if web is None or http is None or http.address is None:
            yield "-"
        else:
            host, port = mount.address(http.address, remote=http.remote)
            yield await web.listen(host, port)
    finally:
        if web is not None:
            await web.close()


async def _drain(server: Server, web: Listener | None, engine: Any, grace_s: float) -> None:
    """Lines in work are answered and running steps may end, within the grace; the engine's own
    closing then cancels what still runs."""
    _log.info("draining")
    until = time.monotonic() + grace_s
    if web is not None:
        await web.drain(grace_s)
    await server.drain(max(0.0, until - time.monotonic()))
    try:
        await engine.drain(max(0.0, until - time.monotonic()))
    except TimeoutError:
        _log.warning("steps still run; they are cancelled and run again at the next start")
    await server.close()


def _leave_behind(code: int) -> None:
    """Everything is stored and closed. A plain function that does not end would keep its thread,
    and Python waits for threads: the process ends without it."""
    from greenroom.runtime.threads import NAME  # noqa: PLC0415  see above

    steps = [one for one in threading.enumerate() if one.name.startswith(NAME)]
    for thread in steps:
        thread.join(LINGER_S / len(steps))
    if any(thread.is_alive() for thread in steps):
        _log.warning("a plain function does not end: the process ends without it")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Signals:
    """The signals of a service as a queue. A second request to stop does not wait."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[int] = asyncio.Queue()
        self._stopping = False

    @contextlib.contextmanager
    def handled(self) -> Any:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._received, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    async def next(self) -> int:
        return await self._queue.get()

    def _received(self, number: int) -> None:
        if number != signal.SIGHUP:
            if self._stopping:
                _log.warning("told to stop twice: leaving at once")
                os._exit(1)
            self._stopping = True
        self._queue.put_nowait(number)


@contextlib.contextmanager
def _time_limit(seconds: float) -> Any:
    """Whatever hangs, a thread ends the process: from here on it is as if it were killed."""

    def leave() -> None:
        _log.error("not done after %g s; the next start recovers", seconds)
        os._exit(1)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.asynccontextmanager
async def _watched(engine: Any, settings: Settings) -> AsyncIterator[None]:
    if not settings.watchdog:
        yield
        return
    every_s = systemd.watchdog_s()
    told = time.monotonic()

    def sign_of_life() -> None:
        nonlocal told
        now = time.monotonic()
        if every_s is not None and now - told >= every_s / 2:
            told = now
            systemd.notify(WATCHDOG=1)

    loop = asyncio.get_running_loop()
    watchdog = Watchdog(
        current=lambda: engine.directory.current or engine.executor.current,
        on_strike=lambda instance: loop.call_soon_threadsafe(_strike, engine, instance),
        sign_of_life=sign_of_life,
        note=settings.data / "stuck.json",
    )
    watchdog.start()
    try:
        yield
    finally:
        watchdog.stop()


def _strike(engine: Any, instance: str | None) -> None:
    """The third time an instance holds up all the others it is parked."""
    if instance is None or not engine.supervisor.blocked(instance):
        return
    number = engine.directory.ids.get(instance)
    if number is not None:
        message = "its code blocked the event loop three times for more than two seconds"
        engine.directory.tell(number, Park(Failure("Poison", message, "poison")))


@contextlib.asynccontextmanager
async def _listening(server: Server, settings: Settings) -> AsyncIterator[Path]:
    """Listens on the sockets we were handed, or on one of our own."""
    file: SocketFile | None = None
    handed = systemd.listen_sockets()
    if not handed:
        file = bind(settings.socket_path)
    checking: asyncio.Task[None] | None = None
    try:
        for listener in handed or [file.socket]:  # type: ignore[union-attr]
            await server.listen(listener)
        if file is not None:
            checking = asyncio.create_task(_check_file(file))
        yield file.path if file is not None else _path_of(handed[0])
    finally:
        if checking is not None:
            checking.cancel()
        await server.close()
        if file is not None:
            file.release()


async def _check_file(file: SocketFile) -> None:
    """Says so, once, when somebody took the socket's place."""
    while file.is_ours():  # noqa: ASYNC110 - a file system tells nobody
        await asyncio.sleep(SOCKET_CHECK_S)
    _log.error("%s was removed or replaced: nobody new can connect until a restart", file.path)


def _path_of(listener: socket.socket) -> Path:
    return Path(os.fsdecode(listener.getsockname()))
