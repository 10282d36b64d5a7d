"""Mail over TLS: nothing is said in the clear that was to be secret, whatever the server does."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from greenroom.definitions.actionerrors import ResponseFailed, TransportFailed
from greenroom.definitions.networks import Network
from greenroom.runtime.connectors.connections import Connections
from greenroom.runtime.connectors.smtp_connector import smtp_connector

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl makes the certificate"
)

PASSWORD = "mail-password-1"
MAIL = {"to": ["ann@example.org"], "subject": "Hi", "text": "Hello"}


class MailServer:
    """Takes one connection after the other and keeps each line with whether it came over TLS."""

    def __init__(
        self, certificate: Path, offers: bool = True, more: bytes = b"", tls: bool = False
    ):
        self.lines: list[tuple[bool, str]] = []
        self._offers = offers
        self._more = more
        self._tls = tls
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def said(self, word: str) -> list[bool]:
        """For each command that began with the word, whether it came over TLS."""
        return [secret for secret, line in self.lines if line.upper().startswith(word)]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(10)
            with contextlib.suppress(OSError):
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        secret = self._tls
        with contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if secret:
                connection = stack.enter_context(self._wrapped(connection))
            file: Any = stack.enter_context(connection.makefile("rwb"))
            self._answer(file, b"220 mail.example")
            while raw := file.readline():
                line = raw.decode().strip()
                self.lines.append((secret, line))
                match line.split(" ")[0].upper():
                    case "EHLO":
                        offer = b"250-STARTTLS\r\n" if self._offers and not secret else b""
                        self._answer(
                            file, b"250-mail.example\r\n" + offer + b"250 AUTH PLAIN LOGIN"
                        )
                    case "STARTTLS":
                        self._answer(file, b"220 go on\r\n" + self._more)
                        connection = stack.enter_context(self._wrapped(connection))
                        file, secret = stack.enter_context(connection.makefile("rwb")), True
                    case "AUTH":
                        self._answer(file, b"235 ok")
                    case "RCPT" if self._more:
                        self._answer(file, b"550 no such person")
                    case "DATA":
                        self._answer(file, b"354 go on")
                        while file.readline() not in (b".\r\n", b""):
                            pass
                        self._answer(file, b"250 taken")
                    case "QUIT":
                        self._answer(file, b"221 bye")
                        return
                    case _:
                        self._answer(file, b"250 ok")

    def _wrapped(self, connection: socket.socket) -> ssl.SSLSocket:
        return self._context.wrap_socket(connection, server_side=True)

    @staticmethod
    def _answer(file: Any, text: bytes) -> None:
        file.write(text if text.endswith(b"\r\n") else text + b"\r\n")
        file.flush()


Made = Callable[..., MailServer]


@pytest.fixture(autouse=True)
async def let_go() -> AsyncIterator[None]:
    """A socket under TLS is closed some turns after its user has let go of it: the loop of a test
    lasts until then, or the collector finds an open one during another test."""
    yield
    loop: Any = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        while any(one._sock for one in list(loop._transports.values())):
            await asyncio.sleep(0.001)


@pytest.fixture
def server(certificate: Path) -> Iterator[Made]:
    made: list[MailServer] = []

    def make(**how: Any) -> MailServer:
        made.append(MailServer(certificate, **how))
        return made[-1]

    yield make
    for one in made:
        one.close()


async def send(
    server: MailServer, name: str = "safe.example", tls: Literal["starttls", "tls"] = "starttls"
) -> Any:
    async def here(host: str, _: int) -> list[str]:
        return ["127.0.0.1"]

    mail = smtp_connector(
        host=f"{name}:{server.port}", sender="us@example.org", username="us", tls=tls,
        allow=[f"127.0.0.1:{server.port}"],
    )  # fmt: skip
    network = Network.of(allow=[f"127.0.0.1:{server.port}"])
    async with Connections([mail], resolver=here, network=network):
        return await mail.call("SendMail", MAIL)


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_SMTP_PASSWORD", PASSWORD)


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("cert.pem")))


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_a_mail_and_its_password_go_over_tls(
    server: Made, trusted: None, tls: Literal["starttls", "tls"]
) -> None:
    there = server(tls=tls == "tls")
    assert (await send(there, tls=tls))["refused"] == {}
    for word in ("AUTH", "MAIL", "RCPT", "DATA"):
        assert there.said(word) == [True]


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_a_server_that_nobody_vouches_for_gets_nothing(
    server: Made, tls: Literal["starttls", "tls"]
) -> None:
    there = server(tls=tls == "tls")
    with pytest.raises(
        TransportFailed, match=r"cannot be used.*(certificate|CERTIFICATE)"
    ) as caught:
        await send(there, tls=tls)
    assert (caught.value.details["sent"], "unsent" in caught.value.retry_names) == (False, True)
    assert there.said("AUTH") == there.said("MAIL") == []


async def test_a_certificate_for_another_name_is_none(server: Made, trusted: None) -> None:
    there = server()
    with pytest.raises(TransportFailed, match=r"other\.example cannot be used"):
        await send(there, "other.example")
    assert there.said("AUTH") == there.said("MAIL") == []


async def test_a_server_that_does_not_offer_tls_gets_nothing(server: Made, trusted: None) -> None:
    """Nor does one between us and it that takes the offer out."""
    there = server(offers=False)
    with pytest.raises(TransportFailed, match="STARTTLS"):
        await send(there)
    assert there.said("AUTH") == there.said("MAIL") == []


async def test_what_was_slipped_in_before_tls_is_no_answer_of_it(
    server: Made, trusted: None
) -> None:
    """Else whoever is in between could say that a mail was taken."""
    there = server(more=b"250 mail.example\r\n235 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n")
    with pytest.raises(ResponseFailed, match="no such person"):
        await send(there)
    assert there.said("RCPT") == [True]
