"""Services of others, as handlers of template flows call them."""

from greenroom.definitions.flows import IdentityNotFound, identity
from greenroom.definitions.integrations import email, okta, pagerduty, slack
from greenroom.definitions.services import NoProvider, provide, recorded

__all__ = [
    "IdentityNotFound", "NoProvider", "email", "identity", "okta", "pagerduty", "provide",
    "recorded", "slack",
]  # fmt: skip
