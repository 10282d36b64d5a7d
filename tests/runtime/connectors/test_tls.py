"""https: the certificate must be for the name that was asked, at whatever address it was found."""

from __future__ import annotations

import shutil
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from greenroom.definitions.actionerrors import TransportFailed
from greenroom.definitions.networks import Network
from greenroom.runtime.connectors.connections import Connections
from greenroom.runtime.connectors.http_connector import http_connector

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl makes the certificate"
)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = (self.headers["Host"] or "").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port(certificate: Path) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


async def test_name_and_certificate_stay_those_of_the_host(
    port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def here(host: str, _: int) -> list[str]:
        return ["127.0.0.1"]

    network = Network.of(allow=[f"127.0.0.1:{port}"])
    async with Connections(resolver=here, network=network):
        with pytest.raises(TransportFailed, match="certificate") as caught:  # nobody knows it
            await http_connector().call("Get", url=f"https://safe.example:{port}/")
        assert caught.value.details["sent"] is False
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("cert.pem")))
    async with Connections(resolver=here, network=network):
        found = await http_connector().call("Get", url=f"https://safe.example:{port}/")
        assert found["body"] == {"text": f"safe.example:{port}"}
        with pytest.raises(TransportFailed, match="certificate"):
            await http_connector().call("Get", url=f"https://other.example:{port}/")
