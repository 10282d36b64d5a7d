"""Events of services handed on by both clients, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from greenroom import Client, SyncClient
from greenroom.definitions.errors import NotFound
from greenroom.runtime import shapes
from tests.runtime.connectors.test_ingestion import BODY, NOW, SECRET, engine, flexli

Serve = Callable[..., Any]


@pytest.mark.parametrize("body", [BODY, BODY.decode()], ids=["bytes", "text"])
async def test_F8_both_clients_hand_on_an_event_that_is_taken_once(
    serve: Serve, body: bytes | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_PEER_SIGNING_KEY", SECRET)
    async with engine("flexli") as made:
        served = await serve(made)
        headers = flexli(BODY, NOW, SECRET)
        async with Client(served.path) as client:
            first = await client.ingest("peer", headers, body)
            assert isinstance(first, shapes.Ingested) and first.accepted is not None
            assert (first.type, first.accepted.matched_total) == ("opened", 1)
            assert [one["id"] for one in await client.connectors.list()][0] == "peer"
            assert (await client.secrets.check("peer_signing_key"))[0]["found"]

        def again() -> shapes.Ingested:
            with SyncClient(served.path) as client:
                with pytest.raises(NotFound):
                    client.ingest("peeer", {}, body)
                assert client.connectors.show("peer")["type"] == "peer"
                return client.ingest("peer", headers, body)

        second = await asyncio.to_thread(again)
        assert second.accepted is not None
        assert second.accepted.duplicate and second.accepted.id == first.accepted.id
