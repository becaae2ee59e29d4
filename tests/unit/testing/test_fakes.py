"""Scripted answers, and what a fake refuses as the real integration would."""

from __future__ import annotations

import inspect
from unittest.mock import AsyncMock

import pytest

from bifrost import testing
from bifrost.errors import IntegrationError, NotFoundError, ValidationError
from bifrost.integrations.registry import bind, methods
from bifrost.testing import InMemoryContext, UnscriptedCallError


async def test_answers_come_one_after_the_other():
    """A value is returned as a record, an exception raised, a function called and awaited; the last answers every further call."""
    context = InMemoryContext()

    async def shout(word):
        return {"said": word.upper()}

    context.integration("crm").answers("say", {"firstName": "Ada"}, IntegrationError("down", status_code=503), TimeoutError, shout)
    crm = context.get_integration("crm")
    assert (await crm.say("a")).first_name == "Ada"
    with pytest.raises(IntegrationError) as caught:
        await crm.say("b")
    assert caught.value.status_code == 503
    with pytest.raises(TimeoutError):
        await crm.say("c")
    assert [(await crm.say(word)).said for word in "de"] == ["D", "E"]
    assert context.integration("crm").calls == context.calls == [("crm.say", {"*": [word]}) for word in "abcde"]
    mock = AsyncMock(return_value=[1])
    assert context.integration("crm").answers("say", mock) is context.integration("crm")
    assert await crm.say(word="f") == [1]
    mock.assert_awaited_once_with(word="f")


async def test_what_the_real_one_would_refuse_is_refused(served):
    """Methods by the real class, with near names; arguments by its signature, which is shown; nothing of it is executed."""
    context = InMemoryContext()
    tool = context.integration("tool").answers("make", lambda what, size: [what, size])
    assert await context.get_integration("tool").make(size=3, what="x") == ["x", 3]
    assert context.calls == [("tool.make", {"what": "x", "size": 3})]
    with pytest.raises(NotFoundError, match=r"Method 'mke' not found\. Did you mean 'make' or"):
        tool.answers("mke", 1)
    with pytest.raises(NotFoundError, match="offers: kinds, make, unmake"):
        await context.get_integration("tool").mae()
    for arguments in ({"what": "x", "colour": "red"}, {}):
        with pytest.raises(ValidationError, match=r"tool\.make: .*; it is called as make\(what, \*, size=1\)"):
            await context.get_integration("tool").make(**arguments)
    assert len(context.calls) == 1
    with pytest.raises(TypeError, match="at least one answer"):
        tool.answers("make")


async def test_a_call_without_an_answer_says_how_to_write_one(served):
    """The message has the call, the line to write, and what is scripted."""
    context = InMemoryContext()
    with pytest.raises(UnscriptedCallError, match=r"tool\.unmake\(\*=\['x'\]\) was called.*Nothing is scripted"):
        await context.get_integration("tool").unmake("x")
    context.integration("tool").answers("make", 1)
    with pytest.raises(UnscriptedCallError) as caught:
        await context.get_integration("tool").kinds()
    assert 'context.integration("tool").answers("kinds", …). Scripted are: make' in str(caught.value)


def test_the_class_that_a_worker_serves(served):
    """It has the real one's methods, signatures and rules, and executes nothing of it; of an unknown one, what is scripted."""
    context = InMemoryContext()
    fake = context.integration("tool")
    cls = fake.as_class()
    assert (cls.integration_name, cls.timeout_seconds, methods(cls)) == ("tool", 7, ["kinds", "make", "unmake"])
    made = cls(context)
    for name in methods(cls):
        assert str(inspect.signature(getattr(made, name))) == {"make": "(what, *, size=1)", "unmake": "(what, /)",
                                                               "kinds": "(first='a', *others)"}[name]
        for args in (("x",), ("x", "y")):
            assert bind(cls, name, args, {}) == bind(fake.real, name, args, {})
    unknown = context.integration("crm").answers("say", 1).as_class()
    assert methods(unknown) == ["say"]
    assert repr(context.integration("crm")) == "<fake integration crm>"


def test_the_kit_is_what_it_names():
    """Each public name is there, and no other."""
    assert sorted(testing.__all__) == dir(testing) == [name for name in testing.__all__ if getattr(testing, name).__name__ == name]
    with pytest.raises(AttributeError, match="has no attribute 'Fake'"):
        _ = testing.Fake
