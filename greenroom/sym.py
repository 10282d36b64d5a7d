"""The names of Sym's SDK; see `greenroom.definitions.sym`."""

from greenroom.definitions.approvals import ApprovalTemplate
from greenroom.definitions.handlers import hook, reducer
from greenroom.definitions.integrations import okta, pagerduty, slack
from greenroom.definitions.sym import (
    FieldOption,
    Notification,
    PermissionLevel,
    RequestPermission,
    SymException,
    get_step_output,
    prefetch,
)

__all__ = [
    "ApprovalTemplate", "FieldOption", "Notification", "PermissionLevel", "RequestPermission",
    "SymException", "get_step_output", "hook", "okta", "pagerduty", "prefetch", "reducer", "slack",
]  # fmt: skip
