"""Actions as ops of workflows: journaled, tried again by their kind of failure, the same key each time;
and the canary: a whole run after which no secret is anywhere but with the service (E1)."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom import begin, done, retrystep, step, workflow
from greenroom.definitions.connectordocs import compile_connector
from greenroom.definitions.connectors import Connector as Declared
from greenroom.definitions.errors import InvalidDefinition, StepFailed
from greenroom.definitions.retries import RetryPolicy
from greenroom.runtime import logs, masking
from greenroom.runtime.connectors.connector import Connector
from greenroom.runtime.engine import Engine
from tests.runtime.connectors.conftest import Service
from tests.runtime.kits import FileEngine, MemoryEngine


def peer(service: Service, **config: Any) -> Declared:
    """Actions of the service, one careful and one that may be repeated."""
    properties = {"path": {"type": "string"}, "query": {"type": "object"}, "body": {}}
    document = {
        "type": "peer", "schema_version": 1, "config": {"host": service.host, **config},
        "actions": [
            {"type": "Read", "method": "get", "path": "::path", "query": "::query",
             "parameters": {"properties": properties, "required": ["path"]}},
            {"type": "Write", "method": "post", "path": "::path", "query": "::query",
             "body": "::body", "parameters": {"properties": properties, "required": ["path"]}},
        ],
    }  # fmt: skip
    return compile_connector(document, cls=Connector)


async def ended(engine: MemoryEngine, instance: str) -> Any:
    """The instance once it is settled; real requests take real time, waits virtual time."""
    async with asyncio.timeout(20):
        while True:
            found = await engine.get(instance)
            if found.status in ("completed", "failed"):
                return found
            if found.status == "waiting":
                await engine.advance("1m")
            await asyncio.sleep(0.005)


async def test_a_call_in_a_program_is_an_op_and_is_not_made_again_by_a_replay(
    service: Service,
) -> None:
    one = peer(service)

    @workflow
    async def fetch(path: str) -> Any:
        found = await one.call("Read", path=path)
        try:
            await one.call("Read", path="status/404")
        except StepFailed as error:
            return {"path": found["path"], "failed": error.type}

    async with MemoryEngine(fetch, connectors=[one]) as engine:
        started = await engine.start("fetch", {"path": "echo"})
        await engine.until_idle(20)
        assert (await engine.get(started.id)).result == {
            "path": "/echo",
            "failed": "ResponseFailed",
        }
        await engine.crash()
        assert (await engine.get(started.id)).result == {
            "path": "/echo",
            "failed": "ResponseFailed",
        }
        history = (await engine.history(started.id)).items
        names = [entry.data.get("name") for entry in history if entry.kind == "StepStarted"]
        assert names == ["peer.Read", "peer.Read"] or len(service.seen()) == 2


async def test_a_failure_keeps_status_and_body_in_the_journal(service: Service) -> None:
    one = peer(service)

    @workflow
    async def fetch() -> Any:
        return await one.call("Write", path="status/418", body={"a": 1})

    async with MemoryEngine(fetch, connectors=[one]) as engine:
        started = await engine.start("fetch")
        found = await ended(engine, started.id)
        assert found.status == "failed"
        assert "418" in json.dumps(found.error.details) + found.error.message


@pytest.mark.parametrize(
    ("action", "path", "tries"),
    [
        ("Read", "flaky/a?fail=2", 3),
        ("Read", "status/500", 3),
        ("Read", "status/404", 1),
        ("Write", "flaky/b?fail=2&code=429", 3),
        ("Write", "status/500", 1),
        ("Write", "cut", 1),
        ("Read", "cut", 3),
    ],
)
async def test_what_may_be_repeated_is_and_anything_else_is_not(
    service: Service, action: str, path: str, tries: int
) -> None:
    one = peer(service)
    where, _, query = path.partition("?")
    params = {"path": where, "query": dict(pair.split("=") for pair in query.split("&") if pair)}

    @workflow
    async def fetch() -> Any:
        return await one.call(action, params)

    async with MemoryEngine(fetch, connectors=[one], check_replay=False) as engine:
        started = await engine.start("fetch")
        await ended(engine, started.id)
        seen = service.seen()
        assert len(seen) == tries
        keys = {request["headers"].get("idempotency-key") for request in seen}
        assert keys == ({None} if action == "Read" else {f"{started.id}/1"})


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_call_in_a_step_has_the_same_key_in_each_attempt_and_each_call_one_of_its_own(
    service: Service, blocking: bool
) -> None:
    one = peer(service)

    def bodies(attempt: int) -> list[dict[str, Any]]:
        calls = [{"n": 1}, {"n": 2}, {"n": 2}]
        return calls if attempt == 1 else calls[::-1]

    @retrystep(delay="1s", max_attempts=3)
    async def pays(ctx: Any) -> None:
        for body in bodies(ctx.attempt):
            await one.call("Write", path="echo", body=body)
        if ctx.attempt < 3:
            raise ConnectionError("no answer")
        await one.call("Write", path="echo", body={"n": 1}, key="mine")

    @retrystep(name="pays", delay="1s", max_attempts=3)
    def pays_blocking(ctx: Any) -> None:
        for body in bodies(ctx.attempt):
            one.call_sync("Write", path="echo", body=body)
        if ctx.attempt < 3:
            raise ConnectionError("no answer")
        one.call_sync("Write", path="echo", body={"n": 1}, key="mine")

    @workflow
    def order() -> object:
        return begin >> (pays_blocking if blocking else pays) >> done

    async with MemoryEngine(order, connectors=[one]) as engine:
        first = await engine.start("order")
        assert (await ended(engine, first.id)).status == "completed"
        sent = [(seen["headers"]["idempotency-key"], seen["body"]) for seen in service.seen()]
        assert sent.pop() == ("mine", sent[0][1])
        assert len(sent) == 9 and len(set(sent)) == len({key for key, _ in sent}) == 3
        assert all(key.startswith(f"{first.id}/pays") for key, _ in sent)

        second = await engine.start("order")
        assert (await ended(engine, second.id)).status == "completed"
        assert not {key for key, _ in sent} & {
            seen["headers"]["idempotency-key"] for seen in service.seen()[:-1]
        }


async def test_retry_after_is_when_the_next_attempt_comes_if_the_policy_agrees(
    service: Service,
) -> None:
    one = peer(service)

    @retrystep(delay="1s", max_delay="1h", retry_on=("429",))
    async def patient() -> dict[str, Any]:
        return {
            "got": await one.call(
                "Read", path="flaky/patient", query={"code": "429", "after": "300"}
            )
        }

    @retrystep(delay="1s", retry_on=("5xx",))
    async def other() -> dict[str, Any]:
        return {
            "got": await one.call("Read", path="flaky/other", query={"code": "429", "after": "300"})
        }

    @workflow
    def waits() -> object:
        return begin >> patient >> done

    @workflow
    def fails() -> object:
        return begin >> other >> done

    async with MemoryEngine(waits, fails, connectors=[one]) as engine:
        started = await engine.start("waits")
        await engine.until_idle(20)
        (wait,) = (await engine.get(started.id)).waits
        assert wait.kind == "retry"
        await engine.advance("299s")
        assert (await engine.get(started.id)).status == "waiting"
        await engine.advance("2s")
        assert (await ended(engine, started.id)).result["got"] == {"n": 2}
        refused = await engine.start("fails")
        assert (await ended(engine, refused.id)).status == "failed"


async def test_a_program_calls_the_connector_of_a_document_that_is_loaded_too(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "connectors").mkdir()
    (tmp_path / "connectors/peer.json").write_text(json.dumps({
        "type": "peer", "schema_version": 1, "config": {"host": service.host},
        "actions": [{"type": "Read", "method": "get", "path": "echo"}],
    }))  # fmt: skip
    (tmp_path / "app.py").write_text(
        "from pathlib import Path\n"
        "from greenroom import Connector, workflow\n"
        "peer = Connector.read(Path(__file__).parent / 'connectors/peer.json')\n"
        "@workflow\n"
        "async def reads():\n"
        "    return (await peer.call('Read'))['path']\n"
    )
    async with MemoryEngine("app.py", connectors=["connectors/"]) as engine:
        started = await engine.start("reads")
        assert (await ended(engine, started.id)).result == "/echo"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ('{"name": "a"}', "is no connector"),
        ('{"type": "a", "config": {"hots": "x"}}', r'did you mean "host"'),
        (" " * 300_000, "300,000 bytes"),
    ],
)
def test_what_is_no_connector_is_not_read(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "one.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidDefinition, match=message):
        Connector.read(path)


async def test_a_plan_can_run_an_action_by_its_target(service: Service) -> None:
    """The seam that documents compile to: `resolve`, `problems`, `target`, `retry`."""
    engine = Engine.open(":memory:", connectors=[peer(service)])
    action = engine.connectors.resolve("peer", "Write")
    assert action.problems({"path": 1})[0].path == "$.path"
    assert action.target.name == "peer.Write"
    assert isinstance(action.retry, RetryPolicy)
    assert not action.idempotent and engine.connectors.resolve("peer", "Read").idempotent


async def test_connectors_are_called_from_plain_functions_in_threads(service: Service) -> None:
    one = peer(service)

    @step
    def plain() -> dict[str, Any]:
        return {"path": one.call_sync("Read", path="echo")["path"]}

    @workflow
    def works() -> object:
        return begin >> plain >> done

    async with MemoryEngine(works, connectors=[one]) as engine:
        started = await engine.start("works")
        assert (await ended(engine, started.id)).result["path"] == "/echo"


def test_the_sync_facade_has_connectors_and_secrets(service: Service) -> None:
    with Engine.sync(":memory:", connectors=[peer(service)]) as engine:
        assert [one.id for one in engine.connectors.list() if not one.shipped] == ["peer"]
        reply = engine.connectors.call("peer", "Read", {"path": "echo"})
        assert reply["response"]["path"] == "/echo"
        assert engine.secrets.check("nope")[0].found is False


# -- the canary ----------------------------------------------------------------------------------

CANARIES = {
    "BEARER": "canary-bearer-4f1c9a7e",
    "KEY": 'canary-key-"7b\\é-2d',
    "PASSWORD": "canary-password-91/aa+b",
    "CLIENT": "canary-client-55d0e2",
    "HOOK": "canary-hook-path-88aa",
    "SIGNING": "canary-signing-77bb",
}


async def test_E1_no_secret_is_in_store_logs_errors_or_answers(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CANARIES.items():
        monkeypatch.setenv(f"GREENROOM_SECRET_{name}", value)
    kinds: dict[str, dict[str, Any]] = {
        "bearer": {"type": "BearerToken", "bearer_token": "secret://bearer"},
        "key": {"type": "ApiKey", "api_key": "secret://key", "api_key_header": "X-Key"},
        "basic": {"type": "Basic", "username": "me", "password": "secret://password"},
        "oauth": {"type": "OAuth2Client", "client_id": "me", "client_secret": "secret://client",
                  "token_url": f"{service.url}/token", "basic_auth": False},
    }  # fmt: skip
    made: list[Declared] = []
    for name, credentials in kinds.items():
        one = peer(service, credentials=credentials, grants=["hook"])
        one.id = name
        for action in one.actions.values():
            msgspec.structs.force_setattr(action.target, "name", f"{name}.{action.type}")
        made.append(one)

    @workflow
    async def canary() -> Any:
        found: list[Any] = []
        for one in made:
            # the service repeats what it got: headers, query and body
            found.append(await one.call("Read", path="echo", query={"h": "secret://hook"}))
            found.append(await one.call("Write", path="echo", body={"h": "secret://hook"}))
            for path in ("status/400", "status/401", "badjson", "cut"):
                try:
                    await one.call("Write", path=path, query={"h": "secret://hook"})
                except StepFailed as error:
                    found.append(str(error))
        return found

    out = io.StringIO()
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    logs.setup("json", "DEBUG", out)
    try:
        store = tmp_path / "canary.db"
        async with FileEngine(store, canary, connectors=made, check_replay=False) as engine:
            started = await engine.start("canary")
            found = await ended(engine, started.id)
            assert found.status == "completed", found.error
            faces: list[Any] = [
                await engine.history(started.id), await engine.get(started.id),
                await engine.why(started.id), await engine.connectors.list(),
                [one.as_data() for one in made], await engine.secrets.list(), repr(engine.secrets),
            ]  # fmt: skip
            await engine.crash()
            faces.append(await engine.get(started.id))
            logging.getLogger("greenroom.test").error("leaked %s", list(CANARIES.values()))
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    seen = json.dumps(service.seen())
    spelled = {
        spelling
        for value in (*CANARIES.values(), *(f"me:{value}" for value in CANARIES.values()))
        for spelling in masking.spellings(value)
    }
    assert "canary-bearer-4f1c9a7e" in seen and "canary-hook-path-88aa" in seen  # it was sent
    places = {
        path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    } | {"logs": out.getvalue().encode(), "faces": repr(faces).encode()}  # fmt: skip
    assert "leaked" in out.getvalue() and "canary.db" in places
    hits = [
        (name, text) for name, raw in places.items() for text in spelled if text.encode() in raw
    ]
    assert hits == []
    assert not any(f"token-{n}-of-me".encode() in raw for raw in places.values() for n in range(99))


async def test_a_secret_that_a_document_has_written_out_is_sent_and_kept_nowhere(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    token = "canary-that-is-written-out-9c1e"
    credentials = {"type": "BearerToken", "bearer_token": token}
    with caplog.at_level(logging.WARNING):
        engine = FileEngine(tmp_path, connectors=[peer(service, credentials=credentials)])
    (warning,) = [one for one in caplog.messages if "is written out" in one]
    assert '"secret://peer_bearer_token"' in warning
    async with engine:
        engine.register({
            "schema_version": 1, "name": "w",
            "actions": [{"connector_id": "peer", "type": "Read", "order": 1,
                         "parameters": {"path": "echo"}, "transform": {"::": "::"}}],
        })  # fmt: skip
        started = await engine.start("w")
        found = await ended(engine, started.id)
        assert found.status == "completed" and token not in str(found)
        (request,) = service.seen()
        assert request["headers"]["authorization"] == f"Bearer {token}"
        shown = await engine.connectors.show("peer")
        (secret,) = await engine.connectors.check("peer")
        assert (secret.name, secret.source) == ("peer_bearer_token", "document")
        assert token not in str([shown, secret, await engine.secrets.list()])
        monkeypatch.setenv("GREENROOM_SECRET_PEER_BEARER_TOKEN", "another-that-is-kept-well")
        await engine.connectors.call("peer", "Read", {"path": "echo"})
        (request,) = service.seen()
        assert request["headers"]["authorization"] == "Bearer another-that-is-kept-well"
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or token.encode() not in path.read_bytes(), path
    assert token not in caplog.text
