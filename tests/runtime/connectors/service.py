"""Services as they are in the world, in a process of their own: some of what they do is wrong.

Run as a program it prints its ports as one JSON line and serves until its standard input ends.
Standard library only: it shares no code with what is tested.

`/_log` gives the requests that were seen (and forgets them), everything else is a behaviour.
"""

from __future__ import annotations

import base64
import gzip
import json
import socket
import sys
import threading
import time
import urllib.parse
from typing import Any

LOCK = threading.Lock()
LOG: list[dict[str, Any]] = []
COUNTS: dict[str, int] = {}
MAILS: list[dict[str, Any]] = []
PORTS: dict[str, int] = {}
BOMB = gzip.compress(b"\0" * 50_000_000, 9)
TOKENS: dict[str, bool] = {}


def count(name: str) -> int:
    with LOCK:
        COUNTS[name] = COUNTS.get(name, 0) + 1
        return COUNTS[name]


class Request:
    def __init__(self, head: bytes, connection: socket.socket, rest: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ", 2)
        self.headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:])
        }
        self.path, _, query = self.target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        length = int(self.headers.get("content-length", 0))
        while len(rest) < length:
            rest += connection.recv(65536)
        self.body = rest[:length]

    def json(self) -> Any:
        return json.loads(self.body)

    def form(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(self.body.decode()))

    def as_data(self) -> dict[str, Any]:
        return {
            "method": self.method, "path": self.path, "query": self.query,
            "target": self.target, "headers": self.headers, "body": self.body.decode("latin-1"),
        }  # fmt: skip


def answer(
    connection: socket.socket,
    status: int,
    body: bytes = b"",
    kind: str | None = "application/json",
    headers: dict[str, str] | None = None,
    length: int | None = None,
) -> None:
    lines = [f"HTTP/1.1 {status} X"]
    if kind:
        lines.append(f"Content-Type: {kind}")
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)


def as_json(connection: socket.socket, data: Any, status: int = 200, **more: Any) -> None:
    answer(connection, status, json.dumps(data).encode(), **more)


def serve_http(connection: socket.socket, listener: str) -> None:
    connection.settimeout(30)
    buffer = b""
    try:
        while True:
            while b"\r\n\r\n" not in buffer:
                chunk = connection.recv(65536)
                if not chunk:
                    return
                buffer += chunk
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            request = Request(head, connection, buffer)
            buffer = buffer[len(request.body) :]
            if request.path == "/_log":
                with LOCK:
                    seen, LOG[:] = list(LOG), []
                as_json(connection, seen)
                continue
            with LOCK:
                LOG.append({**request.as_data(), "listener": listener})
            if behave(request, connection) is False:
                return
    except OSError:
        pass
    finally:
        connection.close()


def behave(r: Request, c: socket.socket) -> bool | None:
    """One behaviour; False ends the connection."""
    path = r.path
    if path.startswith("/api/v1/"):
        okta(r, c)
        return None
    if path.startswith("/api/"):
        slack(r, c)
        return None
    if path in ("/v2/enqueue", "/schedules", "/users", "/oncalls"):
        pagerduty(r, c)
        return None
    match path.strip("/").split("/")[0]:
        case "echo":
            as_json(c, r.as_data())
        case "text":
            answer(c, 200, "hello ünï".encode(), "text/plain; charset=utf-8")
        case "latin":
            answer(c, 200, "caf\xe9".encode("latin-1"), "text/plain; charset=iso-8859-1")
        case "binary":
            answer(c, 200, b"\xff\xfe\x00\x01", "application/octet-stream")
        case "empty":
            c.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        case "badjson":
            answer(c, 200, b'{"a": NaN')
        case "deep":
            answer(c, 200, b"[" * 100_000 + b"]" * 100_000)
        case "slow":
            time.sleep(float(r.query.get("s", 2)))
            as_json(c, {"late": True})
        case "drip":
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(100):
                time.sleep(0.05)
                c.sendall(b"x")
            return False
        case "cut":
            answer(c, 200, b'{"a": 1', length=100)
            return False
        case "short":
            answer(c, 200, b'{"a": 1, "b": 2}', length=7)
            return False
        case "closed":
            return False
        case "garbage":
            c.sendall(b"220 this is no http\r\n\r\n")
            return False
        case "big":
            answer(c, 200, b'"' + b"x" * 5_000_000 + b'"')
            return False
        case "bigchunked":
            c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(200):
                c.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            return False
        case "bomb":
            answer(c, 200, BOMB, headers={"Content-Encoding": "gzip"})
        case "gzip":
            answer(c, 200, gzip.compress(b'{"packed": true}'), headers={"Content-Encoding": "gzip"})
        case "gzipcut":
            packed = gzip.compress(b'{"packed": "' + bytes(range(200)).hex().encode() + b'"}')[:-12]
            answer(c, 200, packed, headers={"Content-Encoding": "gzip"})
        case "brotli":
            answer(c, 200, b"....", headers={"Content-Encoding": "br"})
        case "headers":
            answer(c, 200, b"{}", headers={f"X-{n}": "v" for n in range(int(r.query["n"]))})
        case "longheader":
            answer(c, 200, b"{}", headers={"X-Long": "v" * 300_000})
            return False
        case "status":
            more = {}
            if "retry_after" in r.query:
                more["Retry-After"] = r.query["retry_after"]
            body = {"error": "so it is", "auth": r.headers.get("authorization")}
            as_json(c, body, int(path.split("/")[2]), headers=more)
        case "flaky":
            n = count(path)
            failing = int(r.query.get("fail", 1))
            if n <= failing:
                more = {"Retry-After": r.query["after"]} if "after" in r.query else {}
                as_json(c, {"n": n}, int(r.query.get("code", 503)), headers=more)
            else:
                as_json(c, {"n": n})
        case "redirect":
            answer(c, int(r.query.get("code", 302)), b"", headers={"Location": r.query["to"]})
        case "loop":
            answer(c, 302, b"", headers={"Location": "/loop"})
        case "token":
            token(r, c)
        case "guarded":
            given = r.headers.get("authorization", "").removeprefix("Bearer ")
            if TOKENS.get(given):
                as_json(c, {"let": "in"})
            else:
                as_json(c, {"error": "who are you"}, 401)
        case "revoke":
            TOKENS.clear()
            as_json(c, {})
        case "services":
            answer(c, 200, b"ok", "text/html")
        case "mails":
            as_json(c, MAILS)
        case _:
            as_json(c, {"error": "no such behaviour"}, 404)
    return None


def token(r: Request, c: socket.socket) -> None:
    form = r.form()
    auth = r.headers.get("authorization", "")
    if auth.startswith("Basic "):
        pair = base64.b64decode(auth[6:]).decode()
        client, secret = (urllib.parse.unquote_plus(part) for part in pair.split(":"))
    else:
        client, secret = form.get("client_id", ""), form.get("client_secret", "")
    if form.get("grant_type") != "client_credentials" or secret != r.query.get("secret", secret):
        as_json(c, {"error": "invalid_client", "you_sent": secret}, 401)
        return
    time.sleep(float(r.query.get("s", 0)))
    made = f"token-{count('token')}-of-{client}-0123456789"
    TOKENS[made] = True
    as_json(c, {"access_token": made, "token_type": "Bearer", "expires_in": 120})


# -- services by name ------------------------------------------------------------------------------


def slack(r: Request, c: socket.socket) -> None:
    method = r.path.rpartition("/")[2]
    if not r.headers.get("authorization", "").startswith("Bearer xoxb-"):
        as_json(c, {"ok": False, "error": "not_authed"})
        return
    match method:
        case "chat.postMessage":
            body = r.json()
            if body.get("channel") == "#nowhere":
                as_json(c, {"ok": False, "error": "channel_not_found"})
            elif body.get("channel") == "#busy" and count("slack-busy") == 1:
                as_json(c, {"ok": False, "error": "ratelimited"}, 429, headers={"Retry-After": "3"})
            else:
                ts = "flaky" if body.get("channel") == "#flaky" else "1.2"
                as_json(c, {"ok": True, "channel": "C1", "ts": ts, "message": body})
        case "conversations.open":
            users = r.form()["users"].split(",")
            as_json(
                c,
                {
                    "ok": True,
                    "channel": {"id": ("D" if len(users) == 1 else "G") + "-".join(users)},
                },
            )
        case "chat.update":
            body = r.json()
            if body["ts"] == "flaky" and count("slack-flaky") <= 2:
                as_json(c, {"ok": False, "error": "internal_error"}, 500)
            else:
                as_json(c, {"ok": True, "channel": body["channel"], "ts": body["ts"]})
        case "users.info":
            id = r.form()["user"]
            if id == "U404":
                as_json(c, {"ok": False, "error": "missing_scope"})
            else:
                profile = {"email": f"{id.lower()}@example.org"}
                as_json(c, {"ok": True, "user": {"id": id, "name": id, "profile": profile}})
        case "users.lookupByEmail":
            if r.form()["email"] == "bob@example.org":
                user = {"id": "U1", "real_name": "Bob", "profile": {"email": "bob@example.org"}}
                as_json(c, {"ok": True, "user": user})
            else:
                as_json(c, {"ok": False, "error": "users_not_found"})
        case _:
            as_json(c, {"ok": False, "error": "unknown_method"})


def pagerduty(r: Request, c: socket.socket) -> None:
    part = r.path.rpartition("/")[2]
    if part == "enqueue":
        body = r.json()
        if body.get("routing_key") != "route-0123456789":
            as_json(c, {"status": "invalid event", "errors": ["routing_key"]}, 400)
        else:
            key = body.get("dedup_key") or "made"
            as_json(c, {"status": "success", "dedup_key": key, "message": "Event processed"}, 202)
        return
    if r.headers.get("authorization") != "Token token=pd-token-0123456789":
        as_json(c, {"error": {"message": "unauthorised"}}, 401)
        return
    offset = int(r.query.get("offset", 0))
    match part:
        case "schedules":
            found = [
                {"id": "S1", "name": "prod_on_call_schedule"},
                {"id": "S2", "name": "prod_on_call"},
            ]
            as_json(c, {"schedules": found, "more": False})
        case "users":
            as_json(
                c,
                {"users": [{"id": "P1", "name": "Ann", "email": "ann@example.org"}], "more": False},
            )
        case "oncalls":
            people = [
                {"id": "P1", "summary": "Ann", "name": "Ann", "email": "ann@example.org"},
                {"id": "P2", "summary": "Bob", "name": "Bob", "email": "bob@example.org"},
            ]
            if r.query.get("schedule_ids[]") == "S2":
                people = people[:1]
            one = people[offset // 100 : offset // 100 + 1]
            as_json(
                c,
                {
                    "oncalls": [{"user": user} for user in one],
                    "more": offset // 100 + 1 < len(people),
                },
            )
        case _:
            as_json(c, {}, 404)


def okta(r: Request, c: socket.socket) -> None:
    if r.headers.get("authorization") != "SSWS okta-token-0123456789":
        as_json(c, {"errorCode": "E0000011"}, 401)
        return
    base = f"http://{r.headers['host']}/api/v1"
    people = [
        {"id": f"u{n}", "status": "ACTIVE",
         "profile": {"login": f"p{n}@example.org", "email": f"p{n}@example.org", "firstName": "P", "lastName": str(n)}}
        for n in range(5)
    ]  # fmt: skip
    match r.path.removeprefix("/api/v1/").split("/"):
        case ["groups", "00g12345689", "users"]:
            after = int(r.query.get("after", 0))
            more = {}
            if after + 2 < len(people):
                following = f"{base}/groups/00g12345689/users?after={after + 2}&limit=2"
                more["Link"] = f'<{base}/x>; rel="self", <{following}>; rel="next"'
            as_json(c, people[after : after + 2], headers=more)
        case ["groups", "evil", "users"]:
            link = f'<http://127.0.0.1:{PORTS["private"]}/api/v1/steal>; rel="next"'
            as_json(c, people[:1], headers={"Link": link})
        case ["groups"]:
            as_json(c, [{"id": "g1", "profile": {"name": r.query.get("q", "")}}])
        case ["users", "p1%40example.org"]:
            as_json(c, people[1])
        case ["groups", _, "users", _] if r.method in ("PUT", "DELETE"):
            c.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        case _:
            as_json(c, {"errorCode": "E0000007"}, 404)


# -- mail ------------------------------------------------------------------------------------------


def serve_smtp(c: socket.socket, listener: str) -> None:
    c.settimeout(30)
    file = c.makefile("rwb")

    def say(text: str) -> None:
        file.write(text.encode() + b"\r\n")
        file.flush()

    mail: dict[str, Any] = {"to": []}
    say("220 mail.example.org")
    try:
        for raw in file:
            line = raw.decode().rstrip("\r\n")
            word = line.split(" ")[0].upper()
            if word in ("EHLO", "HELO"):
                say("250-mail.example.org\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME")
            elif word == "AUTH":
                mail["auth"] = line
                plain = base64.b64decode(line.split(" ")[-1])
                say("235 ok" if plain.endswith(b"\0mail-password-1") else "535 no")
            elif word == "MAIL":
                mail["from"] = line
                say("250 ok")
            elif word == "RCPT":
                if "nobody@" in line:
                    say("550 no such person")
                elif "later@" in line:
                    say("450 come again later")
                else:
                    mail["to"].append(line)
                    say("250 ok")
            elif word == "DATA":
                say("354 go on")
                text = b""
                while not text.endswith(b"\r\n.\r\n"):
                    text += file.readline()
                mail["text"] = text.decode()
                MAILS.append(mail)
                mail = {"to": []}
                say("250 taken")
            elif word == "QUIT":
                say("221 bye")
                return
            else:
                say("250 ok")
    except OSError:
        pass
    finally:
        file.close()
        c.close()


def listen(name: str, serve: Any) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    PORTS[name] = listener.getsockname()[1]

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, name), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


if __name__ == "__main__":
    listen("http", serve_http)
    listen("private", serve_http)
    listen("smtp", serve_smtp)
    sys.stdout.write(json.dumps(PORTS) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
