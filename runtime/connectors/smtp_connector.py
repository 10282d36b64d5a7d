"""`smtp`: mail.

Secrets: `smtp_password`, and `smtp_username` if the name is one. The server is given, or is
`GREENROOM_SMTP_HOST`; the sender is given, or is `GREENROOM_SMTP_SENDER`. Needs the extra `mail`.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import os
import socket
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid, parseaddr
from typing import Any, Final, Literal

import msgspec

from greenroom.definitions.actionerrors import (
    RequestInvalid,
    ResponseFailed,
    TransportFailed,
    status_names,
)
from greenroom.definitions.connectors import is_loopback
from greenroom.definitions.credentials import SCHEME, Basic, secret_name
from greenroom.definitions.errors import InvalidRequest
from greenroom.definitions.networks import split_host
from greenroom.definitions.values import Json
from greenroom.runtime.connectors.connections import ActionContext
from greenroom.runtime.connectors.connector import Connector
from greenroom.runtime.connectors.shipped import SOURCE

Tls = Literal["starttls", "tls", "none"]

PORT: Final = 587
TLS_PORT: Final = 465
RECIPIENTS_MAX: Final = 100


class Mail(msgspec.Struct, omit_defaults=True):
    """A mail. `text`, `html` or both."""

    to: list[str]
    subject: str
    text: str | None = None
    html: str | None = None
    cc: list[str] = []
    bcc: list[str] = []
    reply_to: str | None = None
    sender: str | None = None
    headers: dict[str, str] = {}


def smtp_connector(
    id: str = "smtp",
    *,
    host: str | None = None,
    sender: str | None = None,
    username: str | None = None,
    password: str = "secret://smtp_password",
    tls: Tls | None = None,
    allow: Sequence[str] = (),
    rate_limit: Json = None,
    timeout: str | float = "30s",
) -> Connector:
    """A mail server. Without a `username` nobody logs in. Unless `tls` says otherwise it is
    "none" (in the clear) for a server on this machine, "tls" on port 465, else "starttls"."""
    host = host or os.environ.get("GREENROOM_SMTP_HOST")
    sender = sender or os.environ.get("GREENROOM_SMTP_SENDER")
    username = username or os.environ.get("GREENROOM_SMTP_USERNAME")
    connector = Connector(
        id,
        type="SMTP",
        name="Mail",
        description="Mail",
        host=host,
        credentials=Basic(username, password) if username and host else None,
        allow=allow,
        rate_limit=rate_limit,
        timeout=timeout,
        source=SOURCE,
    )

    @connector.action("SendMail", params=Mail)
    async def send_mail(mail: Mail, ctx: ActionContext) -> Json:
        """Sends a mail; gives `{message_id, refused: {address: reason}}`."""
        if host is None:
            raise RequestInvalid(
                "smtp needs a server",
                hint="set GREENROOM_SMTP_HOST=mail.example.org:587, or give the engine smtp_connector(host=...)",
            )
        message = _message(mail, sender, ctx.idempotency_key)
        people = [parseaddr(one)[1] for one in (*mail.to, *mail.cc, *mail.bcc)]
        name, port = split_host(host)
        secured = tls or usual_tls(name, port)
        port = port or (TLS_PORT if secured == "tls" else PORT)
        login: dict[str, str] = {}
        if username is not None:
            user = username
            if user.startswith(SCHEME):
                user = await ctx.secret(secret_name(user))
            login = {"username": user, "password": await ctx.secret(secret_name(password))}
        addresses = await ctx.addresses(name, port)
        refused = await _sent(message, people, name, port, addresses, secured, login)
        return {"message_id": str(message["Message-ID"]), "refused": refused}

    return connector


def usual_tls(name: str, port: int | None) -> Tls:
    """How one speaks to a mail server of which nothing else is known."""
    if is_loopback(name):
        return "none"
    return "tls" if port == TLS_PORT else "starttls"


def _message(mail: Mail, sender: str | None, key: str | None) -> EmailMessage:
    """The mail. Its `Message-ID` is made from the op, so a second sending is known as one."""
    sender = mail.sender or sender
    if not sender:
        raise RequestInvalid("the mail has no sender", hint="set GREENROOM_SMTP_SENDER")
    people = [*mail.to, *mail.cc, *mail.bcc]
    if not people or len(people) > RECIPIENTS_MAX:
        raise RequestInvalid(f"a mail goes to 1 to {RECIPIENTS_MAX} people, not {len(people)}")
    for one in (*people, sender, *([mail.reply_to] if mail.reply_to else [])):
        address = parseaddr(one)[1]
        if not address or "@" not in address or any(c in one for c in "\r\n\0"):
            raise RequestInvalid(f"{one[:80]!r} is no mail address")
    if mail.text is None and mail.html is None:
        raise RequestInvalid("the mail needs text or html")
    message = EmailMessage(policy=SMTP)
    try:
        message["From"] = sender
        message["To"] = ", ".join(mail.to)
        if mail.cc:
            message["Cc"] = ", ".join(mail.cc)
        if mail.reply_to:
            message["Reply-To"] = mail.reply_to
        message["Subject"] = mail.subject
        message["Date"] = formatdate(usegmt=True)
        domain = parseaddr(sender)[1].rpartition("@")[2]
        message["Message-ID"] = _message_id(key, domain)
        for header, value in mail.headers.items():
            if header.lower() in ("bcc", "cc", "date", "from", "message-id", "sender", "to"):
                raise RequestInvalid(f"the header {header} is set from the mail itself")
            message[header] = value
    except ValueError as error:
        raise RequestInvalid(f"a header of the mail cannot be: {error}") from None
    message.set_content(mail.text if mail.text is not None else "This mail is HTML.")
    if mail.html is not None:
        message.add_alternative(mail.html, subtype="html")
    return message


def _message_id(key: str | None, domain: str) -> str:
    if key is None:
        return make_msgid(domain=domain)
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}.greenroom@{domain}>"


async def _sent(
    message: EmailMessage,
    people: list[str],
    name: str,
    port: int,
    addresses: list[str],
    tls: Tls,
    login: dict[str, str],
) -> dict[str, str]:
    """Hands the mail to the server at one of the judged addresses; gives whom it refused."""
    mailer: Any = _library()
    began = False
    client: Any = None
    try:
        client = mailer.SMTP(
            hostname=name,
            sock=await _connected(addresses, port),
            use_tls=tls == "tls",
            start_tls=False,
            timeout=20,
            local_hostname=socket.gethostname(),
        )
        await client.connect()
        if tls == "starttls":
            await client.starttls(server_hostname=name)
        if login:
            await client.login(login["username"], login["password"])
        began = True
        refused, _ = await client.send_message(message, recipients=people)
        await client.quit()
    except mailer.SMTPRecipientsRefused as error:
        codes = [one.code for one in error.recipients]
        raise ResponseFailed(
            f"the mail server refused all recipients: {error.recipients[0].message}",
            retry_names=_names(max(codes)),
            status=max(codes),
        ) from None
    except mailer.SMTPResponseException as error:
        raise ResponseFailed(
            f"the mail server answered {error.code}: {error.message}",
            retry_names=_names(error.code),
            status=error.code,
        ) from None
    except (mailer.SMTPException, OSError) as error:
        late = isinstance(error, mailer.SMTPTimeoutError)
        raise TransportFailed(
            f"the mail server {name} cannot be used: {error or type(error).__name__}",
            retry_names=(
                "transport",
                *(("timeout",) if late else ()),
                *(() if began else ("unsent",)),
            ),
            host=name,
            sent=began,
        ) from None
    finally:
        if client is not None:
            client.close()
    return {address: f"{code} {text}" for address, (code, text) in refused.items()}


def _names(code: int) -> tuple[str, ...]:
    """A 4xx of SMTP passes by itself, unlike one of HTTP: it took nothing."""
    return ("429", "unsent", str(code)) if 400 <= code < 500 else status_names(code)[:1]


async def _connected(addresses: list[str], port: int) -> socket.socket:
    """A connection to the first of the judged addresses that takes one. Raises OSError."""
    loop = asyncio.get_running_loop()
    for at, address in enumerate(addresses):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            async with asyncio.timeout(10):
                await loop.sock_connect(made, (address, port))
        except BaseException as error:
            made.close()
            if not isinstance(error, OSError) or at == len(addresses) - 1:
                raise
        else:
            return made
    raise OSError("no address")


def _library() -> Any:
    try:
        return importlib.import_module("aiosmtplib")
    except ImportError:
        raise InvalidRequest(
            "mail needs the mail extra", hint="pip install 'greenroom[mail]'"
        ) from None
