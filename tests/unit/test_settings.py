"""Settings come from the environment, once, and can be handed on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bifrost.errors import ConfigurationError
from bifrost.settings import VARIABLES, Settings

OTHERS = {"workspace": Path("w"), "organizations": Path("o"), "log_level": "debug", "log_format": "json", "encryption": "vault",
          "workflow_safe": ("numpy", "dateutil.tz"), "vault_auth_method": "approle", "vault_skip_verify": True,
          "secret_cache_seconds": 1.5, "metrics_address": "127.0.0.1:9464", "health_address": "[::1]:8080",
          "cached_executions": 200, "calls_at_once": 50}


def test_every_setting_has_a_variable() -> None:
    """No setting is without its environment variable, and none is read twice."""
    assert VARIABLES.keys() == {field.name for field in dataclasses.fields(Settings)}
    assert len(set(VARIABLES.values())) == len(VARIABLES)


def test_every_setting_has_a_line_of_documentation() -> None:
    """The class says what each variable is for."""
    for name, variable in VARIABLES.items():
        assert f"{name}: `{variable}`" in (Settings.__doc__ or "")


def test_without_variables_there_are_defaults() -> None:
    """An empty environment is a valid one, and an empty variable counts as unset."""
    assert Settings.from_environment({}) == Settings()
    assert Settings.from_environment(dict.fromkeys(VARIABLES.values(), " ")) == Settings()


def test_the_process_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """`from_environment` reads what is set when it is called."""
    monkeypatch.setenv("BIFROST_TASK_QUEUE", "night-shift")
    assert Settings.from_environment().task_queue == "night-shift"


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_sets_its_setting(name: str) -> None:
    """A variable sets exactly one setting, of the right type, without the spaces around it."""
    expected = OTHERS.get(name, f"a value of {name}")
    written = " , ".join(expected) if isinstance(expected, tuple) else str(expected)
    assert Settings.from_environment({VARIABLES[name]: f" {written} "}) == dataclasses.replace(Settings(), **{name: expected})


def test_settings_survive_the_way_to_another_process() -> None:
    """`to_environment` and `from_environment` are inverses."""
    settings = Settings(**{name: OTHERS.get(name, f"a value of {name}") for name in VARIABLES})
    assert Settings.from_environment(settings.to_environment()) == settings
    assert Settings.from_environment(Settings().to_environment()) == Settings()


@pytest.mark.parametrize(("variable", "value", "known"), [
    ("BIFROST_LOG_LEVEL", "chatty", "debug, info, warning, error"), ("BIFROST_LOG_FORMAT", "xml", "auto, console, json")])
def test_a_value_that_cannot_be_is_refused(variable: str, value: str, known: str) -> None:
    """The error names the variable, its value and what it may be."""
    with pytest.raises(ConfigurationError, match=f"{variable} is '{value}'; it must be one of: {known}") as caught:
        Settings.from_environment({variable: value})
    assert caught.value.config_key == variable


def test_a_package_that_cannot_be_one_is_refused() -> None:
    """What is listed as workflow-safe are names of packages."""
    with pytest.raises(ConfigurationError, match="BIFROST_WORKFLOW_SAFE names 'num py', which is no package"):
        Settings.from_environment({"BIFROST_WORKFLOW_SAFE": "numpy, num py"})


def test_choices_may_be_in_capitals() -> None:
    """`INFO` and `info` are the same level."""
    assert Settings.from_environment({"BIFROST_LOG_LEVEL": "WARNING", "BIFROST_LOG_FORMAT": "JSON"}) == Settings(
        log_level="warning", log_format="json")


@pytest.mark.parametrize(("variable", "value", "known"), [
    ("VAULT_AUTH_METHOD", "ldap", "token, approle, kubernetes"), ("VAULT_SKIP_VERIFY", "yes", "true, false"),
    *[("BIFROST_SECRET_CACHE_SECONDS", value, "a number of seconds, 0 or more") for value in ("soon", "-1", "nan", "inf")]])
def test_what_vault_is_asked_by_is_checked(variable: str, value: str, known: str) -> None:
    """A way to log in that does not exist, a choice that is none and a time that is none are refused."""
    with pytest.raises(ConfigurationError, match=f"{variable} is '{value}'; it must be (one of: )?{known}"):
        Settings.from_environment({variable: value})


def test_another_vault_takes_the_place_of_one_with_all_that_led_to_it() -> None:
    """No other way to log in, certificate or namespace is left; mount and prefix are Bifrost's own, and stay."""
    before = Settings.from_environment({**{variable: "other" for variable in VARIABLES.values() if variable.startswith("VAULT_")},
                                        "VAULT_AUTH_METHOD": "approle", "VAULT_SKIP_VERIFY": "T", "BIFROST_VAULT_MOUNT": "kv"})
    assert before.with_vault("http://vault", "token") == Settings(vault_addr="http://vault", vault_token="token", vault_mount="kv")


def test_the_token_is_not_shown() -> None:
    """Settings can be printed."""
    assert "hunter2" not in repr(Settings(vault_token="hunter2", vault_secret_id="hunter2"))


@pytest.mark.parametrize(("variable", "value", "wanted"), [
    ("BIFROST_METRICS_ADDRESS", "9464", "a host and a port, such as 127.0.0.1:9464"),
    ("BIFROST_HEALTH_ADDRESS", "localhost:http", "a host and a port"), ("BIFROST_HEALTH_ADDRESS", "localhost:70000", "a host and a port"),
    ("BIFROST_CACHED_EXECUTIONS", "-1", "a whole number, 0 or more"), ("BIFROST_CALLS_AT_ONCE", "0", "a whole number, 1 or more")])
def test_addresses_and_numbers_are_checked(variable: str, value: str, wanted: str) -> None:
    """An address has a host and a port; a number is one, and not too small."""
    with pytest.raises(ConfigurationError, match=f"{variable} is '{value}'; it must be {wanted}") as caught:
        Settings.from_environment({variable: value})
    assert caught.value.config_key == variable
