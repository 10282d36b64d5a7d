"""`okta`: users and groups of an organisation, by its REST API.

Secret: `okta_token`. The host of the organisation is given, or is `GREENROOM_OKTA_HOST`.
"""

from __future__ import annotations

import os
import re
from typing import Any, Final
from urllib.parse import quote

import msgspec

from greenroom.definitions.actionerrors import RequestInvalid, ResponseFailed
from greenroom.definitions.credentials import ApiKey
from greenroom.definitions.values import Json
from greenroom.runtime.connectors.connector import Connector
from greenroom.runtime.connectors.http import Http
from greenroom.runtime.connectors.shipped import SOURCE

PAGES_MAX: Final = 200
_NEXT: Final = re.compile(r'<([^>]+)>\s*;[^,]*rel="?next"?')


class Group(msgspec.Struct):
    group_id: str


class Membership(msgspec.Struct):
    group_id: str
    user_id: str


class Person(msgspec.Struct):
    """By login, mail address or id."""

    user: str


class Named(msgspec.Struct):
    name: str


def okta_connector(
    id: str = "okta",
    *,
    host: str | None = None,
    token: str = "secret://okta_token",
    rate_limit: Json = None,
) -> Connector:
    """Okta, with the host of an organisation (`example.okta.com`) and the secret of its token."""
    host = host or os.environ.get("GREENROOM_OKTA_HOST") or "set-GREENROOM_OKTA_HOST.invalid"
    connector = Connector(
        id,
        type="Okta",
        name="Okta",
        description="Users and groups",
        host=host,
        base_path="api/v1",
        credentials=ApiKey(token, "Authorization", "SSWS "),
        rate_limit=rate_limit,
        idempotency_header=None,
        source=SOURCE,
    )

    @connector.action("UsersInGroup", params=Group, idempotent=True)
    async def users_in_group(group: Group, http: Http) -> Json:
        """All members of a group: `{users: [{id, login, email, name, status}]}`."""
        _named(host)
        found = await _all(http, f"groups/{quote(group.group_id, safe='')}/users")
        return {"users": [_person(user) for user in found]}

    @connector.action("FindUser", params=Person, idempotent=True)
    async def find_user(person: Person, http: Http) -> Json:
        """A person: `{id, login, email, name, status}`, or `{}`."""
        _named(host)
        try:
            response = await http.get(f"users/{quote(person.user, safe='')}")
        except ResponseFailed as error:
            if error.details.get("status") == 404:
                return {}
            raise
        return _person(response.json())

    @connector.action("FindGroup", params=Named, idempotent=True)
    async def find_group(named: Named, http: Http) -> Json:
        """A group by its exact name: `{id, name}`, or `{}`."""
        _named(host)
        for group in await _all(http, "groups", {"q": named.name}):
            name = (group.get("profile") or {}).get("name")
            if name == named.name:
                return {"id": group.get("id"), "name": name}
        return {}

    @connector.action("AddToGroup", params=Membership, idempotent=True)
    async def add_to_group(member: Membership, http: Http) -> Json:
        """Makes a user a member of a group."""
        await http.request("PUT", _membership(host, member))
        return {}

    @connector.action("RemoveFromGroup", params=Membership, idempotent=True)
    async def remove_from_group(member: Membership, http: Http) -> Json:
        """Ends a user's membership in a group."""
        await http.request("DELETE", _membership(host, member))
        return {}

    return connector


def _named(host: str) -> None:
    if host.endswith(".invalid"):
        raise RequestInvalid(
            "okta needs the host of an organisation",
            hint="set GREENROOM_OKTA_HOST=example.okta.com, or give the engine okta_connector(host=...)",
        )


def _membership(host: str, member: Membership) -> str:
    _named(host)
    return f"groups/{quote(member.group_id, safe='')}/users/{quote(member.user_id, safe='')}"


async def _all(http: Http, path: str, query: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The items of all pages: the next one is named by a header."""
    found: list[dict[str, Any]] = []
    given: dict[str, Any] | None = {"limit": 200, **(query or {})}
    for _ in range(PAGES_MAX):
        response = await http.get(path, query=given)
        items: Any = response.json()
        found += items
        links = ", ".join(value for name, value in response.headers if name.lower() == "link")
        following = _NEXT.search(links)
        if following is None:
            break
        path, given = following[1], None
    return found


def _person(user: Any) -> dict[str, Any]:
    profile = user.get("profile") or {}
    names = [str(profile[part]) for part in ("firstName", "lastName") if profile.get(part)]
    return {
        "id": user.get("id"),
        "login": profile.get("login"),
        "email": profile.get("email"),
        "name": " ".join(names) or None,
        "status": user.get("status"),
    }
