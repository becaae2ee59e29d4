"""The shared words: what they answer, and what a secret handle refuses."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bifrost.errors import DefinitionError
from bifrost.models import (
    Caller,
    ExecutionStatus,
    OAuthCredentials,
    Organization,
    ParameterMetadata,
    RetryRules,
    Secret,
    SourceLocation,
)


def test_organization_answers_both_names() -> None:
    """The guide's names and the short ones mean the same."""
    organization = Organization("acme", "Acme", active=False)
    assert (organization.org_id, organization.is_active) == ("acme", False)
    assert str(SourceLocation("a.py", 3)) == "a.py:3"


def test_credentials_know_when_they_expire() -> None:
    """With a leeway, in any time zone or none; without an expiry they never do. No token is printed."""
    now = datetime.now(UTC)
    credentials = OAuthCredentials("graph", "tok-en", expires_at=now + timedelta(seconds=30), refresh_token="re-fresh")
    assert not credentials.is_expired()
    assert credentials.is_expired(leeway_seconds=60)
    assert OAuthCredentials("g", "t", expires_at=(now - timedelta(seconds=1)).replace(tzinfo=None)).is_expired()
    assert OAuthCredentials("g", "t").is_valid()
    assert credentials.get_auth_header() == "Bearer tok-en"
    assert "tok-en" not in repr(credentials)
    assert "re-fresh" not in repr(credentials)


def test_a_secret_handle_prints_as_stars() -> None:
    """Its name may be seen; comparing handles, hashing and truth are no use of the value."""
    secret = Secret("acme", "api_key")
    assert str(secret) == f"{secret}" == "{}".format(secret) == "%s" % secret == "********"  # noqa: UP031, UP032 - the point
    assert f"{secret:>10}" == "  ********"
    assert repr(secret) == "Secret('api_key', ********)"
    assert secret == Secret("acme", "api_key") != Secret("acme", "other")
    assert secret != 3
    assert len({secret, Secret("acme", "api_key")}) == 1
    assert bool(secret)
    assert Secret.from_wire(secret.to_wire()) == secret
    assert Secret.from_wire({"a": 1}) is None


@pytest.mark.parametrize("use", [
    lambda s: "Bearer " + s, lambda s: s + "x", lambda s: s * 2, len, lambda s: s[0], lambda s: s[:3], list, lambda s: "v" in s,
    lambda s: s == "value", lambda s: s != b"value", lambda s: s < "value", bytes, int, lambda s: s % 1, lambda s: s.encode(),
    lambda s: s.strip(), lambda s: s.startswith("v")])
def test_a_secret_handle_is_no_text(use: Any) -> None:
    """What would need the value is refused, with what to do instead."""
    with pytest.raises(TypeError, match="pass it as it is to an integration call or an `@activity`"):
        use(Secret("acme", "api_key"))


@pytest.mark.parametrize("use", [lambda s: s in "value", lambda s: "".join(reversed([s])), json.dumps])
def test_what_python_itself_refuses_a_handle(use: Any) -> None:
    """Where a text is asked for and Python looks at no method of ours, a handle is none."""
    with pytest.raises(TypeError, match="Secret"):
        use(Secret("acme", "api_key"))


def test_a_secret_handle_is_asked_for_what_it_has_not() -> None:
    """Libraries ask objects for what they may have; a handle answers them as any object does."""
    assert not hasattr(Secret("acme", "api_key"), "model_dump")
    assert not hasattr(Secret("acme", "api_key"), "__json__")


def test_a_secret_handle_cannot_be_changed() -> None:
    """A handle is what it was made."""
    with pytest.raises(AttributeError, match="cannot be changed"):
        Secret("acme", "a").name = "b"


def test_retry_rules_read_every_spelling() -> None:
    """The longest wait follows a first wait that is longer than it usually is."""
    assert RetryRules.of({}) == RetryRules()
    assert RetryRules.of({"max_attempts": 3, "backoff": 2}) == RetryRules(max_attempts=3, factor=2)
    assert RetryRules.of({"backoffSeconds": 300}).max_seconds == 300
    with pytest.raises(DefinitionError, match="0 < backoff_seconds <= max_backoff_seconds"):
        RetryRules.of({"backoff_seconds": 9, "max_backoff_seconds": 3})


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda secret: pickle.loads(pickle.dumps(secret))])
def test_a_secret_handle_can_be_copied(again: Any) -> None:
    """User code may copy the arguments that hold a handle; the copy is the same handle."""
    copied = again({"key": Secret("acme", "api_key")})["key"]
    assert (copied, type(copied)) == (Secret("acme", "api_key"), Secret)


@pytest.mark.parametrize("value", [{"$secret": 5}, {"$secret": {}}, {"$secret": {"org_id": "a", "name": "n", "x": 1}},
                                   {"$secret": {"org_id": "a", "name": "n"}, "other": 1}, "text", None, ["$secret"]])
def test_what_only_looks_like_a_handle_is_none(value: Any) -> None:
    """A value that a caller sent is a handle if it has exactly the form of one, and nothing to stumble over otherwise."""
    assert Secret.from_wire(value) is None


@pytest.mark.parametrize("made", [
    Organization("acme", "Acme", config={"a": 1}), Caller("u1"), SourceLocation("a.py", 3), RetryRules(max_attempts=2),
    ParameterMetadata("a", "string", "A"), OAuthCredentials("g", "t")])
def test_words_survive_a_process_boundary(made: Any) -> None:
    """The shared words compare by value and can be pickled."""
    assert pickle.loads(pickle.dumps(made)) == made


def test_words_cannot_be_changed() -> None:
    """What a run knows of its organization and caller stays as it was recorded."""
    with pytest.raises(AttributeError):
        Caller("u1").user_id = "u2"  # type: ignore[misc]
    assert Organization("a", "A").active
    assert [status.value for status in ExecutionStatus] == [
        "Scheduled", "Pending", "Running", "Success", "CompletedWithErrors", "Failed", "Timeout", "Cancelled", "Terminated"]
