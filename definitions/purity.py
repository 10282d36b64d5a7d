"""The determinism guard: what a program must not do itself, found when it is registered.

A program is run again from the top whenever it has to be brought back, so the clock, chance, files
and the network give it another answer the second time. The source of `handle()`, of `on_event()`,
of plain program functions, and of the helpers of the same module they call, is read once; each
finding names the line and what to use instead. It is a warning, since a name can only be guessed;
`@workflow(strict=True)` makes it an error. `print` is allowed: it prints again after a recovery.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import textwrap
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

from greenroom.definitions.errors import InvalidDefinition, Problem


class DeterminismWarning(UserWarning):
    """A program does something itself that another run of it would do or find differently."""


_NOW: Final = "await now()"
_SLEEP: Final = "await sleep(...)"
_RANDOM: Final = "await random()"
_UUID: Final = "await uuid()"
_TASK: Final = "a task or a step"
_OPS: Final = "greenroom's gather, race, scope, timeout, sleep and wait"

_INSTEAD: Final[dict[str, str]] = {
    "time.sleep": _SLEEP,
    **dict.fromkeys(
        (
            "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter",
            "time.perf_counter_ns", "time.process_time", "time.localtime", "time.gmtime",
            "time.ctime", "time.strftime", "datetime.datetime.now", "datetime.datetime.utcnow",
            "datetime.datetime.today", "datetime.date.today",
        ),
        _NOW,
    ),
    **dict.fromkeys(("uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7"), _UUID),
    **dict.fromkeys(("os.urandom", "os.getrandom"), _RANDOM),
    **dict.fromkeys(
        (
            "builtins.open", "builtins.input", "io.open", "os.environ", "os.getenv", "os.listdir",
            "os.scandir", "os.walk", "os.remove", "os.unlink", "os.rename", "os.replace",
            "os.mkdir", "os.makedirs", "os.rmdir", "os.stat", "os.system", "os.popen", "os.getpid",
            "os.getcwd", "os.path.exists", "os.path.isfile", "os.path.isdir", "os.path.getmtime",
            "os.path.getsize",
        ),
        _TASK,
    ),
    "builtins.hash": "a digest of hashlib: hash() of text is another in each process",
    "builtins.id": "a name of its own: id() is another in each process",
}  # fmt: skip
_FAMILIES: Final[dict[str, str]] = {
    "asyncio": _OPS, "anyio": _OPS, "trio": _OPS,
    **dict.fromkeys(("random", "secrets", "numpy.random"), _RANDOM),
    "uuid_utils": _UUID,
    **dict.fromkeys(
        (
            "requests", "httpx", "aiohttp", "urllib", "urllib3", "http", "socket", "ssl", "smtplib",
            "ftplib", "imaplib", "poplib", "sqlite3", "aiosqlite", "psycopg", "psycopg2", "asyncpg",
            "pymysql", "redis", "pymongo", "boto3", "botocore", "paramiko",
            "subprocess", "shutil", "tempfile", "glob", "aiofiles", "threading", "multiprocessing",
            "concurrent", "queue",
        ),
        _TASK,
    ),
}  # fmt: skip
_HARMLESS: Final = (
    "urllib.parse",
    "http.HTTPStatus",
    "asyncio.iscoroutine",
    "secrets.compare_digest",
)
_PATH_METHODS: Final = frozenset(
    {
        "open", "read_text", "read_bytes", "write_text", "write_bytes", "exists", "is_file",
        "is_dir", "stat", "iterdir", "glob", "rglob", "mkdir", "rmdir", "unlink", "touch", "rename",
        "replace", "resolve", "cwd", "home",
    }
)  # fmt: skip


def check_program(
    functions: list[Callable[..., Any]], name: str, cls: type | None, strict: bool
) -> None:
    """Warns of what the functions of a program do themselves, or refuses it if it is strict."""
    found = [finding for function in functions for finding in findings(function, cls)]
    unique = {(f.file, f.line, f.what): f for f in found}
    if strict and unique:
        raise InvalidDefinition(
            f"{name} is strict and does what a replay would not do alike",
            [Problem("", f.text(name), f"{f.file}:{f.line}") for f in unique.values()],
            hint="move it into a task or a step, or use the op named",
        )
    for finding in unique.values():
        warnings.warn_explicit(
            finding.text(name),
            DeterminismWarning,
            finding.file,
            finding.line,
            module=finding.module,
            registry=finding.registry,
        )


class Finding:
    """One place where a program does something itself."""

    __slots__ = ("file", "instead", "line", "module", "registry", "through", "what")

    def __init__(self, source: _Source, node: ast.AST, what: str, instead: str) -> None:
        self.file = source.file
        self.line = source.first + getattr(node, "lineno", 1) - 1
        self.module = source.module
        self.registry = source.registry
        self.what = what
        self.instead = instead
        self.through = source.through

    def text(self, workflow: str) -> str:
        through = f" (through {self.through}())" if self.through else ""
        return f"{workflow}{through} uses {self.what}, which a replay would not find alike; use {self.instead}"


@functools.lru_cache(maxsize=512)
def findings(function: Callable[..., Any], cls: Any = None) -> list[Finding]:
    """What one function and the helpers of its module that it calls do themselves."""
    source = _Source.of(function)
    if source is None:
        return []
    found = list(_findings_in(source))
    for helper in _helpers(source, cls):
        inner = _Source.of(helper, through=helper.__name__)
        if inner is not None:
            found += _findings_in(inner)
    return found


class _Source:
    """The syntax tree of a function and what its names mean."""

    def __init__(
        self, function: types.FunctionType, tree: ast.AST, first: int, through: str | None
    ) -> None:
        self.function = function
        self.tree = tree
        self.first = first
        self.through = through
        self.file = function.__code__.co_filename
        self.module = function.__module__
        self.globals = function.__globals__
        self.registry: dict[Any, Any] = self.globals.setdefault("__warningregistry__", {})
        self.local = _local_names(tree)
        self.nonlocals = _closed_over(function)

    @classmethod
    def of(cls, function: Any, through: str | None = None) -> _Source | None:
        function = inspect.unwrap(getattr(function, "__func__", function))
        if not isinstance(function, types.FunctionType):
            return None
        try:
            lines, first = inspect.getsourcelines(function)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError, ValueError):  # a REPL, or a lambda within a line
            return None
        return cls(function, tree, first, through)

    def path(self, node: ast.AST) -> str | None:
        """The full name an expression stands for: `dt.now` -> `datetime.datetime.now`."""
        match node:
            case ast.Name(id=name):
                if name in self.local:
                    return self.local[name]
                for space in (self.nonlocals, self.globals, vars(builtins)):
                    if name in space:
                        return _name_of(space[name])
                return None
            case ast.Attribute(value=value, attr=attr):
                base = self.path(value)
                return None if base is None else f"{base}.{attr}"
            case ast.Call(func=func):
                base = self.path(func)
                return None if base is None else f"{base}()"
            case ast.BinOp(left=left, op=ast.Div()):  # Path("a") / "b"
                return self.path(left)
            case _:
                return None

    def value(self, node: ast.AST) -> Any:
        """The object a global name stands for."""
        if isinstance(node, ast.Name) and node.id not in self.local:
            return self.nonlocals.get(node.id, self.globals.get(node.id))
        return None


def _findings_in(source: _Source) -> Iterator[Finding]:
    for node in _own_nodes(source.tree):
        match node:
            case ast.Call(func=func):
                path = source.path(func)
                instead = None if path is None else _instead_of(path, node)
                if path is not None and instead is not None:
                    yield Finding(source, node, f"{_shown(path)}()", instead)
            case ast.Attribute() if source.path(node) == "os.environ":
                yield Finding(source, node, "os.environ", _TASK)
            case ast.For(iter=over) | ast.comprehension(iter=over) if _is_set(source, over):
                yield Finding(
                    source, over, "the order of a set", "sorted(...): it differs in each process"
                )


def _instead_of(path: str, call: ast.Call) -> str | None:
    if path in _INSTEAD:
        if path in ("time.localtime", "time.gmtime", "time.ctime") and call.args:
            return None
        if path == "time.strftime" and len(call.args) > 1:
            return None
        return _INSTEAD[path]
    base, _, method = path.rpartition(".")
    if (
        base in ("pathlib.Path()", "pathlib.Path", "pathlib.PosixPath()")
        and method in _PATH_METHODS
    ):
        return _TASK
    if path.startswith(_HARMLESS) or path.endswith("Error") or "()" in path:
        return None
    if path == "random.Random" and call.args:  # with a seed of its own
        return None
    parts = path.split(".")
    for size in (1, 2):
        family = ".".join(parts[:size])
        if family in _FAMILIES and len(parts) > size:
            return _FAMILIES[family]
    return None


def _helpers(source: _Source, cls: type | None) -> list[types.FunctionType]:
    """The plain functions of the same module, and the methods of the class, that are called."""
    found: dict[int, types.FunctionType] = {}
    for node in _own_nodes(source.tree):
        if not isinstance(node, ast.Call):
            continue
        target: Any = None
        match node.func:
            case ast.Name():
                target = source.value(node.func)
            case ast.Attribute(value=ast.Name(id="self"), attr=attr) if cls is not None:
                target = inspect.getattr_static(cls, attr, None)
        if isinstance(target, staticmethod | classmethod):
            target = target.__func__
        if (
            isinstance(target, types.FunctionType)
            and target.__module__ == source.module
            and target is not source.function
        ):
            found[id(target)] = target
    return list(found.values())


def _own_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run as part of the program: not decorated functions or classes inside it,
    nor decorators, defaults and annotations of its own."""
    root = tree.body[0] if isinstance(tree, ast.Module) and tree.body else tree
    waiting: list[ast.AST] = list(getattr(root, "body", [root]))
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.ClassDef):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.decorator_list:
                waiting += node.body
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


def _local_names(tree: ast.AST) -> dict[str, str | None]:
    """Names bound inside: imports and simple values by what they stand for, the rest unknown."""
    found: dict[str, str | None] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    top = alias.name.partition(".")[0]
                    found[alias.asname or top] = alias.name if alias.asname else top
            case ast.ImportFrom(module=str(module), names=names, level=0):
                for alias in names:
                    found[alias.asname or alias.name] = f"{module}.{alias.name}"
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.setdefault(name, None)
            case ast.ExceptHandler(name=str(name)):
                found.setdefault(name, None)
    return found


def _closed_over(function: types.FunctionType) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not bound yet
            continue
    return found


@functools.singledispatch
def _name_of(thing: Any) -> str | None:
    """The full name of a module, class or function; None for any other object."""
    owner = getattr(thing, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType | type):
        return f"{type(owner).__module__}.{getattr(thing, '__name__', '?')}"  # random.random
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__qualname__}.{getattr(thing, '__name__', '?')}"
    if not callable(thing) or not isinstance(module, str) or not isinstance(name, str):
        return None
    module = {"_io": "io", "_socket": "socket", "posix": "os"}.get(module, module)
    if thing is builtins.open:
        return "builtins.open"
    if module == "pathlib._local" or (
        name in ("Path", "PosixPath") and module.startswith("pathlib")
    ):
        module = "pathlib"
    return f"{module}.{name}"


@_name_of.register
def _(thing: types.ModuleType) -> str:
    return {"posixpath": "os.path", "ntpath": "os.path"}.get(thing.__name__, thing.__name__)


def _is_set(source: _Source, node: ast.AST) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    return isinstance(node, ast.Call) and source.path(node.func) in (
        "builtins.set",
        "builtins.frozenset",
    )


def _shown(path: str) -> str:
    return path.removeprefix("builtins.").removesuffix("()")
