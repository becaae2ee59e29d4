"""Fake integrations: scripted answers in the place of another system, held to the real integration's signatures."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from bifrost.integrations.base import BaseIntegration
from bifrost.integrations.registry import bind, check_arguments, check_method, methods
from bifrost.testing.recorded import Call, Checkpoint


class UnscriptedCallError(AssertionError):
    """A test's workflow made a call that the test has no answer for; the message says how to write one."""


class Script:
    """Answers, one after the other; the last one answers every further call."""

    def __init__(self, answers: Sequence[Any]) -> None:
        if not answers:
            raise TypeError("Give at least one answer: a value, an exception or a function")
        self._answers = list(answers)

    async def answer(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The next answer: returned if it is a value, raised if it is an exception, called if it is a function."""
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer.with_traceback(None)
        if isinstance(answer, type) and issubclass(answer, BaseException):
            raise answer
        made = answer(*args, **kwargs) if callable(answer) else answer
        return await made if inspect.isawaitable(made) else made


class FakeIntegration:
    """An integration whose answers a test writes; `InMemoryContext.integration` makes it.

    Where the real integration is known (it is built in, or the workspace has it), its methods and their signatures hold for
    the fake: what the real one would refuse is refused.

    Args:
        name: The integration's name.
        real: Its class, where there is one.
        story: Where calls are recorded.
    """

    def __init__(self, name: str, real: type[BaseIntegration] | None, story: list[Call | Checkpoint]) -> None:
        self.name = name
        self.real = real
        self._story = story
        self._scripts: dict[str, Script] = {}

    def __repr__(self) -> str:
        return f"<fake integration {self.name}>"

    @property
    def calls(self) -> list[Call]:
        """The calls made so far, in their order; in a real execution each attempt is one."""
        return [one for one in self._story if isinstance(one, Call) and one.name.startswith(f"{self.name}.")]

    def answers(self, method: str, *answers: Any) -> Self:
        """Script what a method answers, in the place of what was scripted for it before.

        Args:
            method: Its name.
            answers: For one call after the other; the last one answers every further call. A value is returned, an
                exception raised, a function called with the call's arguments.

        Raises:
            NotFoundError: the real integration has no such method; names similar ones.
            TypeError: there is no answer.
        """
        if self.real:
            check_method(self.real, self.name, method)
        self._scripts[method] = Script(answers)
        return self

    async def call(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Record a call and answer it.

        Raises:
            NotFoundError: the real integration has no such method; names similar ones.
            ValidationError: the arguments do not fit the real method; shows its signature.
            UnscriptedCallError: nothing is scripted for the method.
            Exception: what the script raises.
        """
        arguments = bind(self.real, method, args, kwargs)
        if self.real:
            check_method(self.real, self.name, method)
            function = _called_as(self.real, method)
            check_arguments(function, self.name, method, args, kwargs)
            bound = inspect.signature(function).bind(*args, **kwargs)
            args, kwargs = bound.args, bound.kwargs
        self._story.append(Call(f"{self.name}.{method}", arguments))
        if method not in self._scripts:
            raise UnscriptedCallError(self._unscripted(method, arguments))
        return await self._scripts[method].answer(args, kwargs)

    def _unscripted(self, method: str, arguments: Mapping[str, Any]) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        scripted = f"Scripted are: {', '.join(self._scripts)}" if self._scripts else "Nothing is scripted for it yet"
        return (f"{self.name}.{method}({given}) was called, and the test has no answer for it. Write one: "
                f'context.integration("{self.name}").answers("{method}", …). {scripted}')

    def as_class(self) -> type[BaseIntegration]:
        """A class that a worker can serve in the real one's place, with its methods, signatures, time-outs and retries."""
        real: type[BaseIntegration] = self.real or BaseIntegration
        members: dict[str, Any] = {name: self._method(name) for name in (methods(real) if self.real else self._scripts)}
        # Nothing of the real one's own is executed: it may look for configuration that a test does not give.
        return type(f"Fake{real.__name__}", (real,), {
            "__init__": BaseIntegration.__init__, "aclose": BaseIntegration.aclose, "authenticate": _authenticate,
            "integration_name": self.name, "__module__": __name__, **members})

    def _method(self, name: str) -> Callable[..., Any]:
        async def call(_self: Any, /, *args: Any, **kwargs: Any) -> Any:
            return await self.call(name, args, kwargs)

        if self.real:
            call = functools.wraps(getattr(self.real, name))(call)
            own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
            given = inspect.signature(_called_as(self.real, name)).parameters.values()
            call.__signature__ = inspect.Signature([own, *given])  # type: ignore[attr-defined]  # what `inspect` reads first
        return call


def _called_as(cls: type[BaseIntegration], method: str) -> Callable[..., Any]:
    """A method as it is called: without `self`."""
    bound = isinstance(inspect.getattr_static(cls, method), staticmethod | classmethod)
    return getattr(cls, method) if bound else functools.partial(getattr(cls, method), None)


async def _authenticate(_self: Any) -> None:
    """A fake lets everybody in."""
