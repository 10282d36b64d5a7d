"""Where the HTTP face is put together with its rules: mounted in an application, or in the daemon."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Final

from greenroom.definitions.errors import InvalidRequest, NotPermitted
from greenroom.definitions.suggest import did_you_mean

if TYPE_CHECKING:
    from greenroom.runtime.daemon import Http
    from greenroom.runtime.engine import Engine
    from greenroom.runtime.web.app import Web
    from greenroom.runtime.web.listen import Listener


NEEDED: Final = ("starlette", "uvicorn", "httptools", "jinja2", "python_multipart")
"""What the extra brings."""


def mounted(engine: Engine, given: dict[str, Any]) -> Web:
    """What `engine.asgi()` gives."""
    try:
        from greenroom.runtime.web.app import Web  # noqa: PLC0415  it needs an extra
        from greenroom.runtime.web.pages.all import routes  # noqa: PLC0415  it needs an extra
        from greenroom.runtime.web.rules import Rules  # noqa: PLC0415  it needs an extra
    except ModuleNotFoundError as error:
        raise InvalidRequest(
            f"engine.asgi() needs the web extra ({error.name} is missing)",
            hint="pip install 'greenroom[web]'",
        ) from None
    pages = given.pop("pages", ())
    known = Rules.__struct_fields__
    for name in given:
        if name not in known:
            raise InvalidRequest(f'asgi() takes no "{name}"{did_you_mean(name, [*known, "pages"])}')
    return Web(engine, Rules(**{"hosts": None, **given}), pages=[*pages, routes])


def is_installed() -> bool:
    """Whether the extra is here."""
    return all(importlib.util.find_spec(name) for name in NEEDED)


def check(http: Http) -> None:
    """Refuses at once what a daemon could never serve. Raises `InvalidRequest`, `NotPermitted`."""
    if http.address is None:
        for option, given in (("proxy", http.proxies), ("tls", http.tls), ("cors", http.origins)):
            if given:
                raise InvalidRequest(
                    f"--http-{option} says something of --http, which is not there"
                )
        return
    address(http.address, remote=http.remote)
    if not is_installed():
        raise InvalidRequest("--http needs the web extra", hint="pip install 'greenroom[web]'")
    if http.open and http.remote:
        raise InvalidRequest("--http-open is for this machine alone, not with --http-allow-remote")


def listener(engine: Engine, http: Http) -> Listener:
    """The face of a daemon."""
    from greenroom.runtime.web.app import Web  # noqa: PLC0415  it needs an extra
    from greenroom.runtime.web.listen import Listener  # noqa: PLC0415  it needs an extra
    from greenroom.runtime.web.pages.all import routes  # noqa: PLC0415  it needs an extra
    from greenroom.runtime.web.rules import LOOPBACK, Rules  # noqa: PLC0415  it needs an extra

    oidc = None
    if http.oidc is not None:
        from greenroom.runtime.web.oidc import Oidc, Provider  # noqa: PLC0415  another extra

        if http.audience is None:
            raise InvalidRequest(
                "--oidc-issuer needs --oidc-audience: a token for somebody else is not for us"
            )
        oidc = Provider(Oidc(issuer=http.oidc, audience=http.audience))
    hosts = (*LOOPBACK, *(name.lower() for name in http.hosts))
    rules = Rules(
        hosts=hosts, open=http.open, oidc=oidc, proxies=http.proxies, tls=http.tls,
        origins=http.origins,
    )  # fmt: skip
    return Listener(Web(engine, rules, pages=[routes]))


def address(text: str, *, remote: bool) -> tuple[str, int]:
    """`HOST:PORT` as a pair. Raises `InvalidRequest`, and `NotPermitted` for an address that is not
    this machine's alone unless `remote`."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InvalidRequest(f"{text} is not HOST:PORT", hint="as in  --http 127.0.0.1:8420")
    if not remote and host not in ("localhost", "127.0.0.1", "::1"):
        raise NotPermitted(
            f"{host} can be reached from other machines, and what is sent there can be read on the way",
            hint="put a proxy with TLS in front and say  --http-allow-remote\n"
            "or stay on this machine:  --http 127.0.0.1:" + port,
        )
    return host, int(port)
