"""Onboarding: a class workflow with tasks, and function workflows it uses.

greenroom dev examples/programs/onboarding.py
greenroom start Onboarding email=bob@example.org team=sales --key bob
greenroom ls
"""

from __future__ import annotations

from typing import Any

from greenroom import (
    Parallel,
    StepFailed,
    Task,
    Workflow,
    approval,
    child,
    emit,
    gather,
    race,
    sleep,
    step,
    wait,
    workflow,
)


class CreateAccount(Task):
    """A task's attributes are its input; `handle` may have effects."""

    def __init__(self, email: str, system: str) -> None:
        self.email = email
        self.system = system

    async def handle(self) -> str:
        return f"{self.email}@{self.system}"

    def on_error_retry_delay(self, error: Exception) -> float | None:
        """Seconds until the next attempt, None to give up."""
        return 2.0 if isinstance(error, ConnectionError) else None


@step("Send a mail")
async def mail(to: str, text: str) -> str:
    return f"to {to}: {text}"


@step("Order a laptop")
async def order_laptop(team: str) -> str:
    if team == "interns":
        raise LookupError("no laptops for interns")
    return f"laptop for {team}"


@workflow
async def equipment(team: str) -> dict[str, Any]:
    """A workflow of its own, used as a child. A step that failed for good can be caught."""
    try:
        laptop: str | None = await order_laptop(team)
    except StepFailed as error:
        laptop = None
        await emit("equipment.missing", {"team": team, "why": str(error)})
    return {"laptop": laptop}


class Onboarding(Workflow):
    """The attributes are the state: everybody can look at them while the instance waits."""

    def __init__(self, email: str, team: str) -> None:
        self.email = email
        self.team = team

    def id(self) -> str:
        return self.email

    async def handle(self) -> dict[str, Any]:
        answer = await approval(f"Hire {self.email}?", assignee="hr", due="7 days")
        if answer is None or not answer["approved"]:
            return {"hired": False}
        self.accounts = await Parallel(
            CreateAccount(self.email, "mail"), CreateAccount(self.email, "chat")
        ).execute()
        self.equipment, self.mail = await gather(
            child(equipment, {"team": self.team}), mail(self.email, "welcome")
        )
        self.first_day = await race(self.signed(), self.reminded())
        return {"hired": True, "first_day": self.first_day}

    async def signed(self) -> str:
        event = await wait("contract.signed", where={"data.email": self.email})
        return str(event.data["on"])

    async def reminded(self) -> str:
        for _ in range(2):
            await sleep("3 days")
            await mail(self.email, "please sign")
        return "never"
