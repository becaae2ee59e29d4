"""`@workflow`, `@param`, `@data_provider` and `@activity`: they check, record, and hand back a function that does what they say.

A decorated function stays an ordinary coroutine function of the same name, documentation and signature. Called directly
(a test does) it coerces and checks its parameters with the same code as a durable execution.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, overload

from bifrost import calling, cron, messages, parameters
from bifrost.errors import DefinitionError, ValidationError
from bifrost.models import (
    OVERLAPS,
    ActivityMetadata,
    DataProviderMetadata,
    ParameterMetadata,
    RetryRules,
    Schedule,
    SourceLocation,
    WorkflowMetadata,
)
from bifrost.parameters import Declared

F = TypeVar("F", bound=Callable[..., Any])

WORKFLOW_ATTRIBUTE = "_workflow_metadata"
DATA_PROVIDER_ATTRIBUTE = "_data_provider_metadata"
ACTIVITY_ATTRIBUTE = "_activity_metadata"
_DECORATED = (WORKFLOW_ATTRIBUTE, DATA_PROVIDER_ATTRIBUTE, ACTIVITY_ATTRIBUTE)
_PENDING_ATTRIBUTE = "_pending_parameters"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODES = ("sync", "async", "scheduled")
_LONGEST = 366 * 86_400
"""How many seconds a schedule may catch up with, or spread over: a year."""


def location_of(function: Callable[..., Any]) -> SourceLocation:
    """The file and line where `function` was written."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is not None:
        return SourceLocation(code.co_filename, code.co_firstlineno)
    frame = sys._getframe(1)  # noqa: SLF001 - a class or a partial has no line; whoever decorates it has
    while frame.f_globals is globals() and frame.f_back:
        frame = frame.f_back
    return SourceLocation(frame.f_code.co_filename, frame.f_lineno)


def _refuse(function: Callable[..., Any], message: str) -> DefinitionError:
    source = location_of(function)
    return DefinitionError(f"{source}: {message}", file=source.file, line=source.line)


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def param(name: str, type: str | None = None, label: str | None = None, required: bool | None = None,  # noqa: A002
          validation: Mapping[str, Any] | None = None, data_provider: str | None = None,
          default_value: Any = None, help_text: str | None = None, validate_options: bool = False,
          data_provider_inputs: Mapping[str, str] | None = None) -> Callable[[F], F]:
    """Describe one parameter. Stands below `@workflow` or `@data_provider`; the order read is the order shown.

    Args:
        name: The argument's name in the function.
        type: One of `string`, `email`, `int`, `float`, `bool`, `json`, `list`, `date`, `datetime`, `secret`, `any`; by default
            what the argument is annotated with.
        label: What a form shows; the name in title case by default.
        required: Whether a call without a value is refused; by default it is where neither the function nor
            `default_value` has a default.
        validation: Rules: `min`, `max`, `min_length`, `max_length`, `pattern`, `enum`, `custom` (a function of the value
            that answers False or raises ValueError), and `message`, which replaces what a refusal says.
        data_provider: The name of the data provider whose options a form offers.
        default_value: The value where none is given.
        help_text: A sentence for whoever fills in the form.
        validate_options: Whether an execution with a value that is none of the options is refused before its code begins. A
            list's items are all held against them; a call without a value is not, and neither is a direct call of the function.
        data_provider_inputs: Where the data provider has parameters: which parameter of this function each of them is,
            `{"country": "office_country"}`.

    Raises:
        DefinitionError: an unknown type or rule, or a second parameter of that name; names file and line.
    """
    def decorate(function: F) -> F:
        if _is_decorated(function):
            raise _refuse(function, f"@param('{name}') stands above @workflow or @data_provider; put it below")
        if type is not None and type not in parameters.TYPES:
            raise _refuse(function, f"Invalid parameter type '{type}' of '{name}' in {_name_of(function)}. "
                                    f"Must be one of: {', '.join(parameters.TYPES)}")
        pending: list[Declared] = function.__dict__.setdefault(_PENDING_ATTRIBUTE, [])
        if any(known.parameter.name == name for known in pending):
            raise _refuse(function, f"Parameter '{name}' of {_name_of(function)} is described twice")
        if (validate_options or data_provider_inputs) and not data_provider:
            raise _refuse(function, f"Parameter '{name}' of {_name_of(function)} has no data_provider whose options it could "
                                    f"{'be held against' if validate_options else 'get by data_provider_inputs'}")
        said = ParameterMetadata(
            name=name, type=type or parameters.UNSAID, label=label or parameters.title(name), required=bool(required),
            validation=dict(validation or {}), data_provider=data_provider, default_value=default_value, help_text=help_text,
            validate_options=validate_options, data_provider_inputs=dict(data_provider_inputs or {}))
        pending.insert(0, Declared(said if type is None else _fitting(function, said), says_required=required is not None))
        return function
    return decorate


def workflow(name: str, description: str = "", category: str = "General", tags: Sequence[str] | None = None,
             execution_mode: str = "sync", timeout_seconds: float = 0, retry_policy: Mapping[str, Any] | None = None,
             schedule: str | Schedule | None = None, requires_org: bool = True, expose_in_forms: bool = True,
             requires_approval: bool = False) -> Callable[[F], F]:
    """Make an `async def` that takes a context first a durable workflow.

    Args:
        name: What it is started by, and its Temporal workflow type: letters, digits and underscores.
        description: What it does; the first line of the docstring by default.
        category: Where lists show it.
        tags: Words to find it by.
        execution_mode: `sync` (callers wait), `async` (callers poll) or `scheduled` (needs `schedule`).
        timeout_seconds: How long one execution may take, from its start; 0 means no limit. Its clean-up may take ten minutes more.
        retry_policy: For its integration calls: `max_attempts`, `backoff` (a factor), `backoff_seconds` (the first
            wait), `max_backoff_seconds`.
        schedule: A cron expression, in UTC, or a `Schedule`, which also says time zone, overlap and the like. By default an
            execution is left out while its predecessor runs, and caught up with for a day where Temporal was down.
        requires_org: Whether an execution needs an organization.
        expose_in_forms: Whether a form may be shown for it.
        requires_approval: Whether an execution waits, before its code begins, until somebody other than its caller has
            approved it (`bifrost executions approve`). That time does not count for `timeout_seconds`.

    Raises:
        DefinitionError: what was written cannot work; names file, line and cure.
    """
    if callable(name):
        raise _refuse(name, f"@workflow needs a name: write @workflow(name=\"{getattr(name, '__name__', 'name')}\")")

    def decorate(function: F) -> F:
        signature = _check_workflow(function, name, execution_mode, timeout_seconds, schedule, retry_policy or {})
        if isinstance(tags, str):
            raise _refuse(function, f"tags of workflow '{name}' are one text: write tags=[{tags!r}]")
        metadata = WorkflowMetadata(
            name=name, description=description or _first_line(function), function=function,
            source=location_of(function), category=category, tags=tuple(tags or ()), execution_mode=execution_mode,
            timeout_seconds=timeout_seconds, retry_policy=dict(retry_policy or {}), schedule=schedule,
            requires_org=requires_org, expose_in_forms=expose_in_forms, requires_approval=requires_approval, parameters=_described(function, signature, name))
        return _checked(function, signature, metadata.parameters, WORKFLOW_ATTRIBUTE, metadata)
    return decorate


def data_provider(name: str, description: str = "", category: str = "General", cache_ttl_seconds: float = 300,
                  stale_seconds: float = 0, timeout_seconds: float = 60, retry_policy: Mapping[str, Any] | None = None) -> Callable[[F], F]:
    """Make a function that takes a context first a source of options: a list of `{"label", "value", "metadata"?}`.

    At most 1,000 of them, each with a value of its own: a text, a number, or true or false. They may also be dataclasses or
    pydantic models with these fields. A sync function runs in a thread, so the decorated function is always awaited.

    An error is never cached. A provider that catches its errors and answers an empty list has given an answer, and that is
    cached like any other: let the error out, with `stale_seconds` where a form had better show the last list.

    Args:
        name: What `@param(..., data_provider=name)` refers to.
        description: What it lists; the first line of the docstring by default.
        category: Where lists show it.
        cache_ttl_seconds: How long an answer may be reused, per organization and inputs; 0 means never.
        stale_seconds: How much longer the last good answer is served, marked as stale, while the provider fails; 0 means not.
        timeout_seconds: How long one attempt may take.
        retry_policy: How a failed attempt is retried, as `@workflow` takes it.

    Raises:
        DefinitionError: what was written cannot work; names file, line and cure.
    """
    if callable(name):
        raise _refuse(name, f"@data_provider needs a name: write @data_provider(name=\"{getattr(name, '__name__', 'name')}\")")

    def decorate(function: F) -> F:
        signature = _check_provider(function, name, retry_policy or {}, cache_ttl_seconds=cache_ttl_seconds,
                                    stale_seconds=stale_seconds, timeout_seconds=timeout_seconds)
        metadata = DataProviderMetadata(
            name=name, description=description or _first_line(function), function=function,
            source=location_of(function), category=category, cache_ttl_seconds=cache_ttl_seconds, stale_seconds=stale_seconds,
            timeout_seconds=timeout_seconds, retry_policy=dict(retry_policy or {}), parameters=_described(function, signature, name))
        return _checked(function, signature, metadata.parameters, DATA_PROVIDER_ATTRIBUTE, metadata)
    return decorate


@overload
def activity(name: F) -> F: ...
@overload
def activity(name: str | None = None, description: str = "", timeout_seconds: float = 60,
             retry_policy: Mapping[str, Any] | None = None) -> Callable[[F], F]: ...
def activity(name: Any = None, description: str = "", timeout_seconds: float = 60,
             retry_policy: Mapping[str, Any] | None = None) -> Any:
    """Make a function that does I/O one that a workflow can call: there the call is one durable, retried activity.

    Elsewhere (in a test, in an integration) it is the function that it was. Sync functions run in a thread, so the
    decorated function is always awaited. An argument that is the workflow's context arrives as the live one, whose secrets
    are values and whose integrations are clients. Arguments and result travel as JSON; what is annotated with a model, a
    dataclass or a `datetime` arrives as one. Executions keep the code that they began with.

    Args:
        name: Its Temporal activity type; the function's name by default.
        description: What it does; the first line of the docstring by default.
        timeout_seconds: How long one attempt may take.
        retry_policy: How a failed attempt is retried, as `@workflow` takes it; the workflow's own by default.

    Raises:
        DefinitionError: what was written cannot work; names file, line and cure.
    """
    def decorate(function: F) -> F:
        chosen = name if isinstance(name, str) else getattr(function, "__name__", "")
        signature = _check_activity(function, chosen, timeout_seconds, retry_policy or {})
        return _performed(function, signature, ActivityMetadata(
            name=chosen, description=description or _first_line(function), function=function, source=location_of(function),
            timeout_seconds=timeout_seconds, retry_policy=dict(retry_policy or {})))
    return decorate(name) if callable(name) else decorate


def _check_activity(function: Callable[..., Any], name: str, timeout_seconds: float, retry_policy: Mapping[str, Any]) -> inspect.Signature:
    _check_name(function, "activity", name)
    if name in messages.ENGINE_ACTIVITIES:
        raise _refuse(function, f"The activity name '{name}' is Bifrost's own; choose another")
    if not inspect.isroutine(function):
        raise _refuse(function, f"The activity '{name}' is no function: {function!r}")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise _refuse(function, f"The activity '{name}' yields, and a result travels whole: return a list")
    if "." in function.__qualname__.rpartition("<locals>.")[2]:
        raise _refuse(function, f"The activity '{name}' is a method; make it a function at the top of its file")
    signature = inspect.signature(function)
    _check_arguments(function, signature, "activity", name)
    if isinstance(timeout_seconds, bool) or not isinstance(timeout_seconds, int | float) or timeout_seconds <= 0:
        raise _refuse(function, f"timeout_seconds of activity '{name}' must be a number above 0: {timeout_seconds!r}")
    _check_retries(function, "Activity", name, retry_policy)
    return signature


def _performed(function: F, signature: inspect.Signature, metadata: ActivityMetadata) -> F:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)  # a call of the wrong shape gets Python's own TypeError
        durable = calling.durable_calls.get()
        if durable is None:
            return await calling.call(function, args, kwargs)
        named = dict(bound.arguments)
        for argument in signature.parameters.values():
            if argument.kind is argument.VAR_KEYWORD:
                named.update(named.pop(argument.name, {}))
        return await durable(metadata, named)

    setattr(call, ACTIVITY_ATTRIBUTE, metadata)
    return call  # type: ignore[return-value]


def _first_line(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _check_provider(function: Callable[..., Any], name: str, retry_policy: Mapping[str, Any], **seconds: float) -> inspect.Signature:
    _check_name(function, "data provider", name)
    if not inspect.isroutine(function):
        raise _refuse(function, f"The data provider '{name}' is no function: {function!r}")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise _refuse(function, f"The data provider '{name}' yields, and its options travel whole: return a list")
    signature = _check_context(function, "data provider", name)
    for key, value in seconds.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value <= _LONGEST:
            raise _refuse(function, f"{key} of data provider '{name}' must be a number of at most {_LONGEST:,}: {value!r}")
        if value < 0:
            raise _refuse(function, f"{key} of data provider '{name}' is negative")
    if not seconds["timeout_seconds"]:
        raise _refuse(function, f"timeout_seconds of data provider '{name}' must be above 0")
    _check_retries(function, "Data provider", name, retry_policy)
    return signature


def _check_function(function: Callable[..., Any], kind: str, name: str) -> inspect.Signature:
    written = getattr(function, "__name__", name)
    _check_name(function, kind, name)
    if not inspect.iscoroutinefunction(function):
        raise _refuse(function, f"The {kind} '{name}' must be an async function: write `async def {written}`")
    return _check_context(function, kind, name)


def _check_context(function: Callable[..., Any], kind: str, name: str) -> inspect.Signature:
    signature = inspect.signature(function)  # once: a run decorates its own functions anew
    arguments = list(signature.parameters.values())
    if not arguments or arguments[0].kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD):
        raise _refuse(function, f"The {kind} '{name}' takes no context: make `context` its first argument")
    _check_arguments(function, signature, kind, name)
    return signature


def _is_decorated(function: Callable[..., Any]) -> bool:
    return any(hasattr(function, attribute) for attribute in _DECORATED)


def _check_name(function: Callable[..., Any], kind: str, name: str) -> None:
    if _is_decorated(function):
        raise _refuse(function, f"{getattr(function, '__name__', name)} is decorated twice")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _refuse(function, f"Invalid {kind} name {name!r}: use letters, digits and underscores, no digit first")


def _check_arguments(function: Callable[..., Any], signature: inspect.Signature, kind: str, name: str) -> None:
    if any(argument.kind in (argument.POSITIONAL_ONLY, argument.VAR_POSITIONAL) for argument in signature.parameters.values()):
        raise _refuse(function, f"The {kind} '{name}' has arguments without a name (`/` or `*args`): "
                                "parameters are passed by name")


def _check_retries(function: Callable[..., Any], kind: str, name: str, retry_policy: Mapping[str, Any]) -> None:
    try:
        RetryRules.of(retry_policy)
    except DefinitionError as error:
        raise _refuse(function, f"{kind} '{name}': {error}") from None


def _check_workflow(function: Callable[..., Any], name: str, execution_mode: str, timeout_seconds: float,
                    schedule: str | Schedule | None, retry_policy: Mapping[str, Any]) -> inspect.Signature:
    signature = _check_function(function, "workflow", name)
    if execution_mode not in _MODES:
        raise _refuse(function, f"Invalid execution_mode {execution_mode!r} of workflow '{name}'. "
                                f"Must be one of: {', '.join(_MODES)}")
    if execution_mode == "scheduled" and not schedule:
        raise _refuse(function, f"The scheduled workflow '{name}' has no schedule: add schedule=\"0 9 * * 1\"")
    if not isinstance(timeout_seconds, int | float):
        raise _refuse(function, f"timeout_seconds of workflow '{name}' is no number: {timeout_seconds!r}")
    if timeout_seconds < 0:
        raise _refuse(function, f"timeout_seconds of workflow '{name}' is negative; 0 means no limit")
    if schedule and (fault := _schedule_fault(schedule)):
        raise _refuse(function, f"The schedule of workflow '{name}' {fault}")
    _check_retries(function, "Workflow", name, retry_policy)
    return signature


def _schedule_fault(schedule: str | Schedule) -> str | None:
    said = schedule if isinstance(schedule, Schedule) else Schedule(schedule)
    if fault := cron.fault(said.cron):
        return f"is no cron expression: {fault}"
    if fault := cron.zone_fault(said.timezone):
        return f"has no time zone: {fault}"
    if said.overlap not in OVERLAPS:
        return f"has an unknown overlap {said.overlap!r}; known: {', '.join(OVERLAPS)}"
    for key, least in (("catchup_seconds", 10), ("jitter_seconds", 0)):
        value = getattr(said, key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= _LONGEST:
            return f"needs {key} to be a number from {least} to {_LONGEST:,}: {value!r}"
    return None


def _described(function: Callable[..., Any], signature: inspect.Signature, name: str) -> tuple[ParameterMetadata, ...]:
    declared: list[Declared] = function.__dict__.pop(_PENDING_ATTRIBUTE, [])
    takes_any = any(argument.kind is argument.VAR_KEYWORD for argument in signature.parameters.values())
    for parameter in (one.parameter for one in declared):
        if parameter.name not in list(signature.parameters)[1:] and not takes_any:
            raise _refuse(function, f"'{name}' describes the parameter '{parameter.name}', which "
                                    f"{function.__name__}{signature} does not take")
    complete = parameters.of_signature(signature, declared)
    unsaid = {one.parameter.name for one in declared if one.parameter.type == parameters.UNSAID}
    if fault := parameters.inputs_fault(complete):
        raise _refuse(function, f"Parameter {fault}")
    return tuple(_fitting(function, one) if one.name in unsaid else one for one in complete)


def _fitting(function: Callable[..., Any], parameter: ParameterMetadata) -> ParameterMetadata:
    """The parameter, whose rules and default fit its type."""
    if fault := parameters.rule_fault(parameter.type, parameter.validation):
        raise _refuse(function, f"Parameter '{parameter.name}' of {_name_of(function)}: {fault}")
    try:
        return parameters.with_default(parameter)
    except ValidationError as error:
        raise _refuse(function, f"Parameter '{parameter.name}' of {_name_of(function)}: {error}") from None


def _checked(function: F, signature: inspect.Signature, described: tuple[ParameterMetadata, ...], attribute: str, metadata: Any) -> F:
    names = list(signature.parameters)

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        signature.bind_partial(*args, **kwargs)  # a call of the wrong shape gets Python's own TypeError
        values = dict(zip(names, args, strict=False)) | kwargs
        if names[0] not in values:
            raise TypeError(f"{function.__name__}() needs a context as its first argument")
        context = values.pop(names[0])
        return await calling.call(function, (context,), values | parameters.bind(described, values))

    setattr(call, attribute, metadata)
    return call  # type: ignore[return-value]
