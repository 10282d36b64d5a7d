"""Access to production: asked for by an engineer, decided by others, taken back in time.

    greenroom dev examples/approvals/access.py

No service is needed: as long as the engine is given no connector of Slack, messages go to the log,
and requests are decided with `greenroom ask answer`.
"""

from __future__ import annotations

from typing import Any

from greenroom import (
    ApprovalTemplate,
    Flow,
    FlowEvent,
    FlowField,
    FlowTarget,
    RequestPermission,
    RetryPolicy,
    hook,
    prefetch,
    reducer,
)
from greenroom.integrations import slack

ON_CALL = {"olga"}
GRANTS: list[str] = []


@prefetch("ticket")
def get_tickets(event: FlowEvent) -> list[tuple[str, str]]:
    """What whoever asks can choose from, when the form is shown."""
    return [("OPS-1", "Database is slow"), ("OPS-2", "Upgrade")]


@reducer
def get_permissions(event: FlowEvent) -> RequestPermission:
    """Who may decide: two of these three, and never whoever asked."""
    return RequestPermission(["olga", "pete", "mia"])


@reducer
def get_request_notifications(event: FlowEvent) -> Any:
    """Who is told: those on call first, everybody when they have not answered in ten minutes."""
    return slack.fallback(
        slack.group(sorted(ON_CALL), timeout="10m"),
        slack.channel("#ops", timeout="1h"),
        continue_on_timeout=True,
    )


@hook
def on_request(event: FlowEvent) -> Any:
    """Who is on call needs nobody; nobody changes the archive."""
    if event.payload.fields["target"].type == "archive":
        return ApprovalTemplate.deny(reason="the archive is never changed")
    if event.user.username in ON_CALL and event.payload.fields["urgent"]:
        return ApprovalTemplate.approve(reason="on call")
    return None


@hook
def after_approve(event: FlowEvent) -> None:
    target = event.payload.fields["target"].name
    slack.send_message(slack.channel("#audit"), f"{event.user} may use {target}")


class Postgres:
    """Gives access and takes it back. Both may run twice after a crash: they must bear that."""

    def escalate(self, target: FlowTarget, event: FlowEvent) -> dict[str, str]:
        role = f"{event.user}@{target.settings['host']}"
        if role not in GRANTS:
            GRANTS.append(role)
        return {"role": role}

    def deescalate(self, target: FlowTarget, event: FlowEvent) -> None:
        role = event.get_step_output()["role"]
        if role in GRANTS:
            GRANTS.remove(role)


access = Flow(
    "prod access",
    template=ApprovalTemplate,
    targets=[
        FlowTarget("orders", "Orders database", "postgres", {"host": "db1"}),
        FlowTarget("archive", "Archive", "archive", {"host": "db2"}),
    ],
    fields=[
        FlowField("ticket", label="For which ticket?"),
        FlowField("urgent", "boolean", required=False, default=False),
    ],
    handlers=__name__,
    strategy=Postgres,
    needs=2,
    reminders=["5m"],
    duration="1h",
    max_duration="8h",
    retry=RetryPolicy(delay_s=5, max_attempts=5),
)
