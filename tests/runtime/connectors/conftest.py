"""A process of services, and connectors to them."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenroom.runtime import masking


class Service:
    """The process of `service.py`."""

    def __init__(self, ports: dict[str, int]) -> None:
        self.port = ports["http"]
        self.private = ports["private"]
        self.smtp = ports["smtp"]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"

    def seen(self) -> list[dict[str, Any]]:
        """The requests since the last time."""
        with urllib.request.urlopen(f"{self.url}/_log") as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}") as answer:
            return json.load(answer)


@pytest.fixture(scope="session")
def _process() -> Iterator[Service]:
    program = Path(__file__).with_name("service.py")
    with subprocess.Popen(
        [sys.executable, "-I", str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        yield Service(json.loads(process.stdout.readline()))
        process.stdin.close()
        process.kill()


@pytest.fixture
def service(_process: Service) -> Service:
    _process.seen()
    return _process


@pytest.fixture(autouse=True)
def _no_secrets_of_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test has its own secrets, and hides no more than those."""
    monkeypatch.setenv("GREENROOM_SECRETS", str(tmp_path / "no-secrets"))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    before = masking.Secrets()
    kept = (masking.secrets._values, masking.secrets._pattern, masking.secrets._in_data)
    masking.secrets._values = set(before._values)
    masking.secrets._pattern = masking.secrets._in_data = None
    yield
    masking.secrets._values, masking.secrets._pattern, masking.secrets._in_data = kept


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """One for `safe.example`, by an authority nobody knows."""
    made = tmp_path / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"),
         "-subj", "/CN=safe.example", "-addext", "subjectAltName=DNS:safe.example", "-days", "2"],
        check=True, capture_output=True,
    )  # fmt: skip
    made.write_bytes((tmp_path / "key.pem").read_bytes() + (tmp_path / "cert.pem").read_bytes())
    return made
