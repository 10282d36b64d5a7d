"""The HTTP face: the engine's verbs as an ASGI application (extra `web`).

One table (`table`) names every route: method, path, verb, scope, shapes. `app` serves it by the
same dispatch as the socket (`calls.run`), `openapi` describes it, the HTTP clients read it
backwards. So nothing is decided twice, and a route cannot exist without a rule.

Reading order: `table`, `app` (how pages are added), `api` (how a request is carried out; `reading`
is what it says), `guard` (what is refused before any of it), `access` (who asks, and what they may),
`routes` (pages and their rules), `entrance`, `sessions`, `oidc`, then what is more than one verb:
`bulk`, `feed`, `outsiders` and `hooks`, `metrics`, `probes`; `listen` speaks HTTP on sockets.

`table` and `access` import nothing but msgspec; the rest needs starlette.
"""
