"""Greenroom: a durable workflow runtime for Python asyncio.

Every public name is here. They are resolved on first use, because importing everything would cost
each call of the command line what only a daemon needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from greenroom.definitions.actionerrors import (
        ActionFailed,
        ParameterInvalid,
        ResponseFailed,
        TransportFailed,
    )
    from greenroom.definitions.approvals import ApprovalTemplate
    from greenroom.definitions.blocks import scope, timeout, within
    from greenroom.definitions.catalog import offer
    from greenroom.definitions.collecting import all_of, any_of, unless
    from greenroom.definitions.correlation import wait_absent, wait_all, wait_any
    from greenroom.definitions.credentials import ApiKey, Basic, BearerToken, OAuth2Client, Secret
    from greenroom.definitions.declare import workflow
    from greenroom.definitions.errors import (
        AlreadyDecided,
        AlreadyRunning,
        Busy,
        CodeChanged,
        ConditionFailed,
        DefinitionError,
        EngineDied,
        EngineStopping,
        ExpressionError,
        Fatal,
        FormError,
        FormInvalid,
        FormNotComplete,
        FormOverflow,
        GreenroomError,
        IdConflict,
        InboxFull,
        InDoubt,
        InstanceCancelled,
        InstanceFailed,
        InvalidDefinition,
        InvalidEvent,
        InvalidInput,
        InvalidRequest,
        InvalidTransition,
        Locked,
        NeedsAnswer,
        NoEngine,
        NoSuchAsk,
        NotFound,
        NotGranted,
        NotPermitted,
        ReadOnly,
        Rejected,
        ResourceNotFound,
        Retry,
        StaleResource,
        StepFailed,
        StillFails,
        StoreDamaged,
        Timeout,
        TooLarge,
        Unreachable,
    )
    from greenroom.definitions.events import Event
    from greenroom.definitions.fields import (
        Accept,
        AcceptValues,
        Check,
        Choice,
        Divider,
        Email,
        FileName,
        Hidden,
        Label,
        LongText,
        Money,
        choice_list,
        money,
        read_only,
        read_only_field,
        read_only_list,
    )
    from greenroom.definitions.flowevents import FlowEvent, FlowTarget
    from greenroom.definitions.flowfields import FlowField
    from greenroom.definitions.flows import Flow
    from greenroom.definitions.forms import FormGenerator, InputStepFunc
    from greenroom.definitions.handlers import hook, prefetch, reducer
    from greenroom.definitions.injection import State, inject_args
    from greenroom.definitions.inputsteps import Assignee, inputstep
    from greenroom.definitions.networks import AddressRefused, Network
    from greenroom.definitions.ops import (
        approval,
        child,
        continue_as_new,
        emit,
        gather,
        now,
        race,
        random,
        sleep,
        sleep_until,
        uuid,
        wait,
    )
    from greenroom.definitions.pages import FormPage
    from greenroom.definitions.permissions import RequestPermission
    from greenroom.definitions.programs import Parallel, Workflow, Zenatonable
    from greenroom.definitions.purity import DeterminismWarning
    from greenroom.definitions.questions import (
        display,
        page,
        read_checkbox,
        read_date,
        read_dropdown,
        read_email,
        read_file,
        read_multiple,
        read_number,
        read_page,
        read_text,
        read_textarea,
    )
    from greenroom.definitions.resources import (
        Lifecycle,
        Resource,
        SubscriptionModel,
        product,
        products,
    )
    from greenroom.definitions.retries import RetryPolicy
    from greenroom.definitions.scopes import callback_step, foreach, parallel, step_group
    from greenroom.definitions.signatures import SignatureInvalid
    from greenroom.definitions.simulations import simulate
    from greenroom.definitions.stages import (
        InvalidNextStage,
        Malformed,
        NoStage,
        StageExit,
        TransitionNotSpecified,
        get_request,
        get_stage,
        next_stage,
        once,
        send_json,
        set_title,
    )
    from greenroom.definitions.steps import (
        Step,
        StepFunc,
        StepList,
        abort,
        ask_step,
        begin,
        conditional,
        done,
        init,
        retrystep,
        step,
    )
    from greenroom.definitions.tasks import Task, TaskContext
    from greenroom.definitions.templates import On, Template
    from greenroom.definitions.trying import explain
    from greenroom.definitions.versions import Version
    from greenroom.definitions.waits import Wait
    from greenroom.runtime.async_client import Client
    from greenroom.runtime.client import SyncClient
    from greenroom.runtime.connectors.connections import ActionContext, Connections
    from greenroom.runtime.connectors.connector import Connector
    from greenroom.runtime.connectors.http import Http
    from greenroom.runtime.connectors.http_connector import http_connector
    from greenroom.runtime.connectors.okta_connector import okta_connector
    from greenroom.runtime.connectors.pagerduty_connector import pagerduty_connector
    from greenroom.runtime.connectors.slack_connector import slack_connector
    from greenroom.runtime.connectors.smtp_connector import smtp_connector
    from greenroom.runtime.context import StepContext
    from greenroom.runtime.engine import Engine, InstanceHandle

_ERRORS = "greenroom.definitions.errors"
_OPS = "greenroom.definitions.ops"
_BLOCKS = "greenroom.definitions.blocks"
_COLLECTING = "greenroom.definitions.collecting"
_CORRELATION = "greenroom.definitions.correlation"
_SCOPES = "greenroom.definitions.scopes"
_QUESTIONS = "greenroom.definitions.questions"
_STAGES = "greenroom.definitions.stages"
_STEPS = "greenroom.definitions.steps"
_FIELDS = "greenroom.definitions.fields"
_FORMS = "greenroom.definitions.forms"
_INPUTS = "greenroom.definitions.inputsteps"
_RESOURCES = "greenroom.definitions.resources"
_PROGRAMS = "greenroom.definitions.programs"
_SCOPES = "greenroom.definitions.scopes"

_PLACES = {
    "Accept": _FIELDS,
    "AcceptValues": _FIELDS,
    "ActionContext": "greenroom.runtime.connectors.connections",
    "ActionFailed": "greenroom.definitions.actionerrors",
    "AddressRefused": "greenroom.definitions.networks",
    "AlreadyDecided": _ERRORS,
    "AlreadyRunning": _ERRORS,
    "ApiKey": "greenroom.definitions.credentials",
    "ApprovalTemplate": "greenroom.definitions.approvals",
    "Assignee": _INPUTS,
    "Basic": "greenroom.definitions.credentials",
    "BearerToken": "greenroom.definitions.credentials",
    "Busy": _ERRORS,
    "Check": _FIELDS,
    "Choice": _FIELDS,
    "Client": "greenroom.runtime.async_client",
    "CodeChanged": _ERRORS,
    "ConditionFailed": _ERRORS,
    "Connections": "greenroom.runtime.connectors.connections",
    "Connector": "greenroom.runtime.connectors.connector",
    "DefinitionError": _ERRORS,
    "DeterminismWarning": "greenroom.definitions.purity",
    "Divider": _FIELDS,
    "Email": _FIELDS,
    "Engine": "greenroom.runtime.engine",
    "EngineDied": _ERRORS,
    "EngineStopping": _ERRORS,
    "Event": "greenroom.definitions.events",
    "ExpressionError": _ERRORS,
    "Fatal": _ERRORS,
    "FileName": _FIELDS,
    "Flow": "greenroom.definitions.flows",
    "FlowEvent": "greenroom.definitions.flowevents",
    "FlowField": "greenroom.definitions.flowfields",
    "FlowTarget": "greenroom.definitions.flowevents",
    "FormError": _ERRORS,
    "FormGenerator": _FORMS,
    "FormInvalid": _ERRORS,
    "FormNotComplete": _ERRORS,
    "FormOverflow": _ERRORS,
    "FormPage": "greenroom.definitions.pages",
    "GreenroomError": _ERRORS,
    "Hidden": _FIELDS,
    "Http": "greenroom.runtime.connectors.http",
    "IdConflict": _ERRORS,
    "InDoubt": _ERRORS,
    "InboxFull": _ERRORS,
    "InputStepFunc": _FORMS,
    "InstanceCancelled": _ERRORS,
    "InstanceFailed": _ERRORS,
    "InstanceHandle": "greenroom.runtime.engine",
    "InvalidDefinition": _ERRORS,
    "InvalidEvent": _ERRORS,
    "InvalidInput": _ERRORS,
    "InvalidNextStage": _STAGES,
    "InvalidRequest": _ERRORS,
    "InvalidTransition": _ERRORS,
    "Label": _FIELDS,
    "Lifecycle": _RESOURCES,
    "Locked": _ERRORS,
    "LongText": _FIELDS,
    "Malformed": _STAGES,
    "Money": _FIELDS,
    "NeedsAnswer": _ERRORS,
    "Network": "greenroom.definitions.networks",
    "NoEngine": _ERRORS,
    "NoStage": _STAGES,
    "NoSuchAsk": _ERRORS,
    "NotFound": _ERRORS,
    "NotGranted": _ERRORS,
    "NotPermitted": _ERRORS,
    "OAuth2Client": "greenroom.definitions.credentials",
    "On": "greenroom.definitions.templates",
    "Parallel": _PROGRAMS,
    "ParameterInvalid": "greenroom.definitions.actionerrors",
    "ReadOnly": _ERRORS,
    "Rejected": _ERRORS,
    "RequestPermission": "greenroom.definitions.permissions",
    "Resource": _RESOURCES,
    "ResourceNotFound": _ERRORS,
    "ResponseFailed": "greenroom.definitions.actionerrors",
    "Retry": _ERRORS,
    "RetryPolicy": "greenroom.definitions.retries",
    "Secret": "greenroom.definitions.credentials",
    "SignatureInvalid": "greenroom.definitions.signatures",
    "StageExit": _STAGES,
    "StaleResource": _ERRORS,
    "State": "greenroom.definitions.injection",
    "Step": _STEPS,
    "StepContext": "greenroom.runtime.context",
    "StepFailed": _ERRORS,
    "StepFunc": _STEPS,
    "StepList": _STEPS,
    "StillFails": _ERRORS,
    "StoreDamaged": _ERRORS,
    "SubscriptionModel": _RESOURCES,
    "SyncClient": "greenroom.runtime.client",
    "Task": "greenroom.definitions.tasks",
    "TaskContext": "greenroom.definitions.tasks",
    "Template": "greenroom.definitions.templates",
    "Timeout": _ERRORS,
    "TooLarge": _ERRORS,
    "TransitionNotSpecified": _STAGES,
    "TransportFailed": "greenroom.definitions.actionerrors",
    "Unreachable": _ERRORS,
    "Version": "greenroom.definitions.versions",
    "Wait": "greenroom.definitions.waits",
    "Workflow": _PROGRAMS,
    "Zenatonable": _PROGRAMS,
    "abort": _STEPS,
    "all_of": _COLLECTING,
    "any_of": _COLLECTING,
    "approval": _OPS,
    "ask_step": _STEPS,
    "begin": _STEPS,
    "callback_step": _SCOPES,
    "child": _OPS,
    "choice_list": _FIELDS,
    "conditional": _STEPS,
    "continue_as_new": _OPS,
    "display": _QUESTIONS,
    "done": _STEPS,
    "emit": _OPS,
    "explain": "greenroom.definitions.trying",
    "foreach": _SCOPES,
    "gather": _OPS,
    "get_request": _STAGES,
    "get_stage": _STAGES,
    "hook": "greenroom.definitions.handlers",
    "http_connector": "greenroom.runtime.connectors.http_connector",
    "init": _STEPS,
    "inject_args": "greenroom.definitions.injection",
    "inputstep": _INPUTS,
    "money": _FIELDS,
    "next_stage": _STAGES,
    "now": _OPS,
    "offer": "greenroom.definitions.catalog",
    "okta_connector": "greenroom.runtime.connectors.okta_connector",
    "once": _STAGES,
    "page": _QUESTIONS,
    "pagerduty_connector": "greenroom.runtime.connectors.pagerduty_connector",
    "parallel": _SCOPES,
    "prefetch": "greenroom.definitions.handlers",
    "product": _RESOURCES,
    "products": _RESOURCES,
    "race": _OPS,
    "random": _OPS,
    "read_checkbox": _QUESTIONS,
    "read_date": _QUESTIONS,
    "read_dropdown": _QUESTIONS,
    "read_email": _QUESTIONS,
    "read_file": _QUESTIONS,
    "read_multiple": _QUESTIONS,
    "read_number": _QUESTIONS,
    "read_only": _FIELDS,
    "read_only_field": _FIELDS,
    "read_only_list": _FIELDS,
    "read_page": _QUESTIONS,
    "read_text": _QUESTIONS,
    "read_textarea": _QUESTIONS,
    "reducer": "greenroom.definitions.handlers",
    "retrystep": _STEPS,
    "scope": _BLOCKS,
    "send_json": _STAGES,
    "set_title": _STAGES,
    "simulate": "greenroom.definitions.simulations",
    "slack_connector": "greenroom.runtime.connectors.slack_connector",
    "sleep": _OPS,
    "sleep_until": _OPS,
    "smtp_connector": "greenroom.runtime.connectors.smtp_connector",
    "step": _STEPS,
    "step_group": _SCOPES,
    "timeout": _BLOCKS,
    "unless": _COLLECTING,
    "uuid": _OPS,
    "wait": _OPS,
    "wait_absent": _CORRELATION,
    "wait_all": _CORRELATION,
    "wait_any": _CORRELATION,
    "within": _BLOCKS,
    "workflow": "greenroom.definitions.declare",
}

__version__ = "0.1.0"
__all__ = [
    "Accept", "AcceptValues", "ActionContext", "ActionFailed", "AddressRefused", "AlreadyDecided",
    "AlreadyRunning", "ApiKey", "ApprovalTemplate", "Assignee", "Basic", "BearerToken", "Busy",
    "Check", "Choice", "Client", "CodeChanged", "ConditionFailed", "Connections", "Connector",
    "DefinitionError", "DeterminismWarning", "Divider", "Email", "Engine", "EngineDied",
    "EngineStopping", "Event", "ExpressionError", "Fatal", "FileName", "Flow", "FlowEvent",
    "FlowField", "FlowTarget", "FormError", "FormGenerator", "FormInvalid", "FormNotComplete",
    "FormOverflow", "FormPage", "GreenroomError", "Hidden", "Http", "IdConflict", "InDoubt",
    "InboxFull", "InputStepFunc", "InstanceCancelled", "InstanceFailed", "InstanceHandle",
    "InvalidDefinition", "InvalidEvent", "InvalidInput", "InvalidNextStage", "InvalidRequest",
    "InvalidTransition", "Label", "Lifecycle", "Locked", "LongText", "Malformed", "Money",
    "NeedsAnswer", "Network", "NoEngine", "NoStage", "NoSuchAsk", "NotFound", "NotGranted", "NotPermitted",
    "OAuth2Client", "On", "Parallel", "ParameterInvalid", "ReadOnly", "Rejected",
    "RequestPermission", "Resource", "ResourceNotFound", "ResponseFailed", "Retry", "RetryPolicy",
    "Secret", "SignatureInvalid", "StageExit", "StaleResource", "State", "Step", "StepContext", "StepFailed",
    "StepFunc", "StepList", "StillFails", "StoreDamaged", "SubscriptionModel", "SyncClient", "Task",
    "TaskContext", "Template", "Timeout", "TooLarge", "TransitionNotSpecified", "TransportFailed",
    "Unreachable", "Version", "Wait", "Workflow", "Zenatonable", "abort", "all_of", "any_of",
    "approval", "ask_step", "begin", "callback_step", "child", "choice_list", "conditional",
    "continue_as_new", "display", "done", "emit", "explain", "foreach", "gather", "get_request",
    "get_stage", "hook", "http_connector", "init", "inject_args", "inputstep", "money",
    "next_stage", "now", "offer", "okta_connector", "once", "page", "pagerduty_connector",
    "parallel", "prefetch", "product", "products", "race", "random", "read_checkbox", "read_date",
    "read_dropdown", "read_email", "read_file", "read_multiple", "read_number", "read_only",
    "read_only_field", "read_only_list", "read_page", "read_text", "read_textarea", "reducer",
    "retrystep", "scope", "send_json", "set_title", "simulate", "slack_connector", "sleep",
    "sleep_until", "smtp_connector", "step", "step_group", "timeout", "unless", "uuid", "wait",
    "wait_absent", "wait_all", "wait_any", "within", "workflow",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'greenroom' has no attribute {name!r}")
    value = getattr(importlib.import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
