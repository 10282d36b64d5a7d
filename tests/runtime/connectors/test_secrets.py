"""Secrets: where they are found, what is refused, and that they do not show."""

from __future__ import annotations

import copy
import pickle
import sys
import types
from pathlib import Path

import msgspec
import pytest

from greenroom.definitions.actionerrors import SecretMissing
from greenroom.definitions.errors import InvalidInput
from greenroom.definitions.values import encode
from greenroom.runtime import masking, secrets
from greenroom.runtime.secrets import Secret, SecretStore, take_environment


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of secrets of a data directory."""
    monkeypatch.delenv("GREENROOM_SECRETS")
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    return folder


def put(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


async def value(store: SecretStore, name: str) -> str:
    return (await store.get(name)).reveal()


async def test_the_places_in_their_order(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SecretStore(place.parent)
    keyring = types.ModuleType("keyring")
    keyring.get_password = lambda service, name: f"ring-{service}-{name}"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    assert await value(store, "a-b.c") == "ring-greenroom-a-b.c"
    put(place / "a-b.c", "from a file\n")
    assert await value(store, "a-b.c") == "from a file"
    credentials = place.parent / "credentials"
    credentials.mkdir()
    put(credentials / "a-b.c", "from systemd", 0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert await value(store, "a-b.c") == "from systemd"
    monkeypatch.setenv("GREENROOM_SECRET_A_B_C", "from the environment")
    assert await value(store, "a-b.c") == "from the environment"
    assert (await store.look("a-b.c")).source == "env"
    assert "a-b.c" in store.names()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o777])
async def test_a_file_that_others_may_read_is_refused(place: Path, mode: int) -> None:
    put(place / "open", "very secret value", mode)
    with pytest.raises(SecretMissing, match="chmod 600") as caught:
        await SecretStore(place.parent).get("open")
    assert "very secret value" not in str(caught.value.as_data())
    assert "chmod" in ((await SecretStore(place.parent).look("open")).problem or "")


async def test_a_link_a_folder_and_bytes_are_no_secrets(place: Path) -> None:
    put(place / "real", "x" * 20)
    (place / "link").symlink_to(place / "real")
    (place / "folder").mkdir()
    (place / "bytes").write_bytes(b"\xff\xfe")
    (place / "bytes").chmod(0o600)
    for name in ("link", "folder", "bytes"):
        with pytest.raises(SecretMissing):
            await SecretStore(place.parent).get(name)


async def test_one_file_may_hold_them_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = place.parent / "all.toml"
    put(file, 'slack = "in a table"\n')
    monkeypatch.setenv("GREENROOM_SECRETS", str(file))
    store = SecretStore()
    assert await value(store, "slack") == "in a table"
    assert store.names() == ["slack"]
    put(file, "slack = very secret value\n")
    with pytest.raises(SecretMissing) as caught:
        await store.get("slack")
    assert "very secret value" not in caught.value.message
    file.chmod(0o644)
    with pytest.raises(SecretMissing, match="chmod 600"):
        await store.get("slack")


@pytest.mark.parametrize(
    "name", ["", "../x", "/etc/passwd", "a/b", "a b", "x" * 65, ".hidden", "a..b"]
)
async def test_a_name_leads_to_no_other_file(place: Path, name: str) -> None:
    with pytest.raises(SecretMissing, match="names no secret"):
        await SecretStore(place.parent).get(name)


async def test_only_variables_that_are_meant_are_read(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME_SECRET", "x")
    for name in ("PATH", "HOME_SECRET"):
        with pytest.raises(SecretMissing):
            await SecretStore(place.parent).get(name)


async def test_a_daemon_takes_its_secrets_out_of_the_environment(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "_TAKEN", {})
    environ = {"GREENROOM_SECRET_X": "taken-0123456789", "PATH": "/bin"}
    take_environment(environ)
    assert environ == {"PATH": "/bin"}
    assert await value(SecretStore(place.parent), "x") == "taken-0123456789"


async def test_a_changed_secret_counts_at_once(place: Path) -> None:
    store = SecretStore(place.parent)
    put(place / "a", "the first value")
    assert await value(store, "a") == "the first value"
    put(place / "a", "the second value")
    assert await value(store, "a") == "the second value"


def test_a_secret_shows_itself_nowhere() -> None:
    one = Secret("do-not-show-this-1")
    for text in (repr(one), str(one), f"{one}", f"{one!r:>40}", repr([one]), repr({"a": one})):
        assert "do-not-show" not in text
    for write in (
        lambda: encode({"a": one}),
        lambda: msgspec.json.encode(one),
        lambda: pickle.dumps(one),
        lambda: copy.deepcopy(one),
    ):
        with pytest.raises((InvalidInput, TypeError)):
            write()
    assert one == Secret("do-not-show-this-1") and one != Secret("another-value-1")
    with pytest.raises(TypeError):
        hash(one)


def test_masking_finds_every_spelling_and_leaves_data_that_is_no_secret() -> None:
    hidden = masking.Secrets()
    hidden.hide_spellings('a/b "c" é+8')
    for text in masking.spellings('a/b "c" é+8'):
        assert hidden.hidden(f"x{text}y") == "x***y"
    hidden.hide("admin")
    assert hidden.hidden({"role": "admin", "token": "kept"}) == {"role": "admin", "token": "kept"}
    assert hidden.masked({"role": "admin", "token": "kept"}) == {"role": "***", "token": "***"}
    hidden.forget(*masking.spellings('a/b "c" é+8'))
    assert hidden.hidden('a/b "c" é+8') == 'a/b "c" é+8'
