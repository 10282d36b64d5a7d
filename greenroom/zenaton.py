"""The names of the Zenaton SDK; see `greenroom.definitions.zenaton`."""

from greenroom.definitions.events import EventObject as Event
from greenroom.definitions.programs import Parallel, Workflow, Zenatonable
from greenroom.definitions.tasks import Task
from greenroom.definitions.versions import Version
from greenroom.definitions.waits import Wait
from greenroom.definitions.zenaton import (
    Builder,
    Client,
    ExternalError,
    InternalError,
    InvalidArgumentError,
    UnknownWorkflowError,
)

__all__ = [
    "Builder", "Client", "Event", "ExternalError", "InternalError", "InvalidArgumentError",
    "Parallel", "Task", "UnknownWorkflowError", "Version", "Wait", "Workflow", "Zenatonable",
]  # fmt: skip
