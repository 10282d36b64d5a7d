"""All pages, as routes with their rules."""

from __future__ import annotations

from starlette.routing import BaseRoute

from greenroom.runtime.web.app import Web
from greenroom.runtime.web.pages import board, deeds, definitions, entry, events, inbox
from greenroom.runtime.web.pages.health import health
from greenroom.runtime.web.pages.home import home
from greenroom.runtime.web.pages.instance import instance
from greenroom.runtime.web.pages.instances import bulk, instances
from greenroom.runtime.web.pages.live import live
from greenroom.runtime.web.pages.retries import retries
from greenroom.runtime.web.pages.screen import screen
from greenroom.runtime.web.pages.start import start
from greenroom.runtime.web.routes import LOGIN
from greenroom.runtime.web.table import PUBLIC

POST = ("POST",)
BOTH = ("GET", "POST")


def routes(web: Web) -> list[BaseRoute]:
    return [
        screen("/", home, "read", name="home"),
        screen("/login", entry.login, PUBLIC, methods=BOTH, name=LOGIN, csrf=False),
        screen("/logout", entry.logout, PUBLIC, methods=POST),
        screen("/go", entry.jump, "read"),
        screen("/live", live, "read"),
        screen("/do/{method}", deeds.do, PUBLIC, methods=POST),
        screen("/instances", instances, "read"),
        screen("/instances/bulk", bulk, "control", methods=POST),
        screen("/events", events.events, "read"),
        screen("/events/{id}", events.event, "read"),
        screen("/subscriptions", events.subscriptions, "read"),
        screen("/retries", retries, "read"),
        screen("/definitions", definitions.definitions, "read"),
        screen("/definitions/{name}", definitions.definition, "read"),
        screen("/document", definitions.editor, "define", methods=BOTH),
        screen("/schedules", definitions.schedules, "read"),
        screen("/board", board.board, "read"),
        screen("/editor/{workflow}", board.editor, "read"),
        screen("/logs", board.logs, "read"),
        screen("/health", health, "read"),
        screen("/inbox", inbox.inbox, "answer"),
        screen("/as", inbox.go_by, "answer", methods=POST),
        screen("/asks/{id:path}", inbox.question, "answer", methods=BOTH),
        screen("/a/{token}", inbox.by_link, PUBLIC, methods=BOTH, csrf=False),
        screen("/start/{workflow}", start, "start", methods=BOTH),
        screen("/i/{instance:path}", instance, "read", name="instance"),
    ]
