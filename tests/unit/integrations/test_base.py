"""What every integration has, and how its retry rules are spelled."""

from __future__ import annotations

from unittest.mock import AsyncMock, MagicMock

import pytest

from bifrost.errors import DefinitionError
from bifrost.integrations.base import BaseIntegration, Operation, RetryRules, operation, register_integration


class Plain(BaseIntegration):
    """An integration as a user writes it."""

    integration_name = "plain"

    async def authenticate(self) -> str:
        return await self.get_secret("key")


async def test_an_integration_works_with_a_mock_for_its_context():
    """A user's unit test hands a MagicMock; secrets and configuration come from it, and closing is safe."""
    context = MagicMock()
    context.get_secret = AsyncMock(return_value="value")
    context.get_config.return_value = "https://plain.example"
    integration = Plain(context)
    assert await integration.authenticate() == "value"
    assert integration.get_config("url", "default") == "https://plain.example"
    context.get_config.assert_called_once_with("url", "default")
    await integration.aclose()


class Optioned(Plain):
    """Options of the class, and of one method."""

    timeout_seconds = 9
    rate_per_second = 4

    @operation(repeatable=False, timeout_seconds=120, rate_per_second=0.5)
    async def charge(self): ...

    async def read(self): ...


def test_a_methods_options_are_the_classs_and_over_them_its_own():
    """What `@operation` does not say the class says, and what that does not say is the default."""
    assert Operation.of(Optioned, "charge") == Operation(timeout_seconds=120, repeatable=False, rate_per_second=0.5)
    assert Operation.of(Optioned, "read") == Operation.of(Optioned, "no_such") == Operation(timeout_seconds=9, rate_per_second=4)
    assert Operation.of(None, "read") == Operation()


@pytest.mark.parametrize(("options", "message"), [
    ({"timeout_seconds": 0}, "timeout_seconds must be a number above 0, not 0"), ({"heartbeat_seconds": "3"}, "heartbeat_seconds must be"),
    ({"rate_per_second": True}, "rate_per_second must be"), ({"rate_per_second": 1001}, "rate_per_second must be from 0.001 to 1000"),
    ({"retry": {"max_attempts": 3}}, "retry must be RetryRules"), ({"timeout_seconds": float("inf")}, "timeout_seconds must be")])
def test_options_that_cannot_be_are_refused_where_they_are_written(options, message):
    """At the method, and for the class's attributes when it is registered."""
    with pytest.raises(DefinitionError, match=f"@operation of '.*charge'.*{message}"):
        operation(**options)(Optioned.charge)
    with pytest.raises(DefinitionError, match=f"The integration 'wrong': {message}"):
        register_integration("wrong", type("Wrong", (Plain,), options))


def test_a_methods_options_have_to_go_with_its_classs():
    """A short method is repeatable and has no rate: refused where both are written, or when its class, which has a rate, is registered."""
    for options in ({"repeatable": False}, {"rate_per_second": 1}):
        with pytest.raises(DefinitionError, match=r"@operation of '.*read': what is short has to be repeatable and can have no rate_per_second"):
            operation(short=True, **options)(Optioned.read)
    with pytest.raises(DefinitionError, match=r"The integration 'wrong', method 'find': what is short .* no rate_per_second"):
        register_integration("wrong", type("Wrong", (Optioned,), {"find": operation(short=True)(lambda self: self)}))


def test_a_place_for_no_call_is_refused():
    """`max_concurrent` is above 0."""
    with pytest.raises(DefinitionError, match="max_concurrent must be a number above 0"):
        register_integration("wrong", type("Wrong", (Plain,), {"max_concurrent": 0}))


def test_an_integration_must_say_how_it_authenticates():
    """A class without `authenticate` cannot be made."""
    with pytest.raises(TypeError, match="authenticate"):
        type("Lacking", (BaseIntegration,), {})(MagicMock())


@pytest.mark.parametrize("policy", [
    {"max_attempts": 7, "backoff": 3, "backoff_seconds": 5, "max_backoff_seconds": 50},
    {"maxAttempts": 7, "backoffMultiplier": 3, "backoffSeconds": 5, "maxBackoffSeconds": 50},
    {"max_attempts": 7, "backoff_multiplier": 3, "backoff_seconds": 5, "max_backoff_seconds": 50}])
def test_every_spelling_of_a_retry_policy_means_the_same(policy):
    """All spellings seen in users' code are read; what is not given has its default."""
    assert RetryRules.of(policy) == RetryRules(max_attempts=7, initial_seconds=5, factor=3, max_seconds=50)
    assert RetryRules.of({}) == RetryRules()


@pytest.mark.parametrize(("policy", "message"), [
    ({"attempts": 3}, "Unknown retry_policy key 'attempts'; known: backoff"), ({"max_attempts": 0}, "max_attempts >= 1"),
    ({"backoff": 0.5}, "backoff >= 1"), ({"backoff_seconds": 0}, "0 < backoff_seconds")])
def test_a_retry_policy_that_cannot_work_is_refused(policy, message):
    """Unknown keys and numbers out of range are refused where they are written."""
    with pytest.raises(DefinitionError, match=message):
        RetryRules.of(policy)
