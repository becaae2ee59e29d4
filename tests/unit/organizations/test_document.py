"""One file of organizations: what may be said in it, and how each mistake is reported."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from bifrost.errors import ConfigurationError
from bifrost.models import Organization
from bifrost.organizations.document import read_document

ROOT = Path(__file__).parents[3]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "organizations.yaml"


def _refused(file: Path, text: str) -> ConfigurationError:
    file.write_text(dedent(text))
    with pytest.raises(ConfigurationError) as caught:
        read_document(file)
    return caught.value


def test_the_sample_is_valid() -> None:
    """The file that ships has two active organizations, an inactive one, and a global scope."""
    document = read_document(ROOT / "deploy" / "organizations.yaml")
    assert [(entry.id, entry.active) for entry, _ in document.organizations] == [
        ("acme", True), ("globex", True), ("initech", False)]
    assert document.global_config


def test_a_list_and_a_global_scope(file: Path) -> None:
    """What is not given has its default: active, no tenant, no configuration."""
    file.write_text("global:\n  config: {a: 1}\norganizations:\n- name: Acme\n  id: acme\n- {id: b, name: B, config: }\n")
    document = read_document(file)
    assert document.organizations == ((Organization("acme", "Acme"), 5), (Organization("b", "B"), 6))
    assert (document.global_config, document.global_line) == ({"a": 1}, 1)


def test_one_organization_at_the_top(file: Path) -> None:
    """A file may hold just one organization."""
    file.write_text("id: acme\nname: Acme\ntenant_id: t\nactive: false\nconfig: {a: [1, 2.5, null, true, text]}\n")
    document = read_document(file)
    assert document.organizations == (
        (Organization("acme", "Acme", "t", active=False, config={"a": [1, 2.5, None, True, "text"]}), 1),)
    assert document.global_config is None


def test_a_file_may_hold_nothing_on_purpose(file: Path) -> None:
    """An empty list is an answer; it also is how a file says that it has no organizations yet."""
    file.write_text("organizations: []\n")
    assert read_document(file).organizations == ()


def test_typed_entries_and_references_are_accepted(file: Path) -> None:
    """Every type, every spelling of a truth value, and references to secrets at any depth."""
    entries = ["{value: a, type: string}", "{value: 5, type: string}", "{value: '5', type: int}", "{value: 5, type: int}",
               "{value: 'off', type: bool}", "{value: true, type: bool}", "{value: '{\"a\": 1}', type: json}",
               "{value: {a: 1}, type: json}", "{value: name, type: secret_ref}", "{secret_ref: name}",
               "{deep: [{secret_ref: a.b-c_d}]}", "{value: 1, type: mobile, more: 2}", "2024-12-24", "{value: 1}"]
    file.write_text("id: acme\nname: Acme\nconfig:\n" + "".join(f"  k{n}: {entry}\n" for n, entry in enumerate(entries)))
    (organization, _), = read_document(file).organizations
    assert len(organization.config) == len(entries)
    assert organization.config["k12"] == "2024-12-24"


def test_anchors_and_merges_are_accepted(file: Path) -> None:
    """What organizations have in common may be written once; an own key goes before a merged one."""
    file.write_text(dedent("""\
        organizations:
        - {id: a, name: A, config: &common {url: x, retries: {value: '3', type: int}}}
        - {id: b, name: B, config: {<<: *common, url: y}}
        - {id: c, name: C, config: *common}
        """))
    configs = [entry.config for entry, _ in read_document(file).organizations]
    assert [config["url"] for config in configs] == ["x", "y", "x"]


@pytest.mark.parametrize(("text", "line", "key", "says"), [
    ("organizations:\n- id: acme\n  nmae: Acme\n  name: Acme\n", 3, "organizations[0].nmae", "is not a known key"),
    ("organisations: []\nglobal: {}\n", 1, "organisations", "is not a known key"),
    ("organizations:\n- id: a\n  name: A\n\n- id: b\n", 5, "organizations[1].name", "is missing"),
    ("name: A\n", 1, "id", "is missing"),
    ("id: a\nname: ''\n", 2, "name", "at least 1 character"),
    ("organizations:\n- id: 12\n  name: A\n", 2, "organizations[0].id", "put it in quotes"),
    ("id: GLOBAL\nname: A\n", 1, "id", "scope of all organizations"),
    ("id: ../b\nname: A\n", 1, "id", "Invalid organization id"),
    ("id: a\nname: A\nactive: 'yes'\n", 3, "active", "valid boolean"),
    ("id: a\nname: A\nconfig: [1]\n", 3, "config", "is not a mapping"),
    ("organizations: {a: b}\n", 1, "organizations", "is not a list"),
    ("organizations:\n", 1, "organizations", "is not a list"),
    ("organizations:\n- acme\n", 2, "organizations[0]", "is not a mapping"),
    ("- acme\n", 1, "", "is not a mapping"),
    ("just text\n", 1, "", "is not a mapping"),
    ("global: {config: {}, more: 1}\n", 1, "global.more", "is not a known key"),
    ("global:\n  config:\n    a: {value: x, type: int}\n", 3, "global.config.a", "not of type int"),
    ("id: a\nname: A\nlimits: {executions: 0}\n", 3, "limits.executions", "greater than or equal to 1"),
    ("id: a\nname: A\nlimits:\n  calls: 3\n", 4, "limits.calls", "is not a known key"),
    ("id: a\nname: A\nschedules:\n  audit: {cron: 0 9 * *}\n", 4, "schedules.audit.cron", "is no cron expression: '0 9 * *' has 4 fields"),
    ("id: a\nname: A\nschedules:\n  audit:\n    timezone: Berlin\n", 5, "schedules.audit.timezone", "there is no time zone 'Berlin'"),
    ("global:\n  schedules:\n    audit: {paused: maybe}\n", 3, "global.schedules.audit.paused", "boolean"),
    ("id: a\nname: A\nschedules:\n  audit: {every: day}\n", 4, "schedules.audit.every", "is not a known key"),
    ("global: {limits: {executions_per_minute: '3'}}\n", 1, "global.limits.executions_per_minute", "valid integer"),
    ("", 1, "", "the file is empty"),
    ("# only a comment\n", 1, "", "the file is empty"),
])
def test_a_wrong_shape_is_reported_where_it_is(file: Path, text: str, line: int, key: str, says: str) -> None:
    """A mistake is an error that names file, line and key."""
    error = _refused(file, text)
    assert says in str(error)
    assert str(error).startswith(f"{file}:{line}: ")
    assert (error.details["file"], error.details["line"], error.details["key"]) == (str(file), line, key)
    assert error.config_key == (key or None)


@pytest.mark.parametrize(("entry", "says"), [
    ("{value: hunter2, type: int}", "the value is not of type int"),
    ("{value: 1.5, type: int}", "the value is not of type int"),
    ("{value: true, type: int}", "the value is not of type int"),
    ("{value: , type: int}", "the value is not of type int"),
    ("{value: hunter2, type: bool}", "the value is not of type bool"),
    ("{value: '{hunter2', type: json}", "the value is not of type json"),
    ("{value: [hunter2], type: string}", "the value is not of type string"),
    ("{value: a/hunter2, type: secret_ref}", "the value is not of type secret_ref"),
    ("{value: 5, type: secret_ref}", "the value is not of type secret_ref"),
    ("{value: hunter2, type: integer}", "unknown type; known: string, int, bool, json, secret_ref"),
    ("{value: hunter2, type: [int]}", "unknown type"),
    ("{secret_ref: 'hunter2!'}", "the secret_ref is not the name of a secret"),
    ("{secret_ref: [hunter2]}", "the secret_ref is not the name of a secret"),
    ("{secret_ref: a, default: hunter2}", "stands alone"),
    ("{deep: [1, {secret_ref: ''}]}", "the secret_ref is not the name of a secret"),
    (".inf", "JSON does not have"),
    ("!!binary aHVudGVyMg==", "JSON does not have"),
    ("!!set {hunter2}", "JSON does not have"),
])
def test_a_configuration_that_cannot_be_read_later_is_refused_here(file: Path, entry: str, says: str) -> None:
    """A type or a value that `get_config` would stumble over is reported with its line, and never with the value."""
    error = _refused(file, f"id: acme\nname: Acme\nconfig:\n  fine: 1\n  wrong: {entry}\n")
    assert says in str(error)
    assert error.details["line"] == 5
    assert error.details["key"].startswith("config.wrong")
    assert "hunter2" not in str(error.to_dict())


@pytest.mark.parametrize(("text", "line", "says"), [
    ("id: a\nname: A\nid: b\n", 1, "id is given twice, in lines 1 and 3"),
    ("id: a\nname: A\nconfig:\n  list:\n  - {a: 1}\n  - x: 1\n    y: 2\n    x: 3\n", 8, "config.list[1].x is given twice, in lines 6 and 8"),
    ("id: a\nname: A\nconfig: {1: a}\n", 3, "the key in line 3 is not text"),
    ("id: a\nname: A\nconfig:\n  on: a\n", 3, "the key in line 4 is not text"),
    ("id: a\nname: A\nconfig: &self\n  a: [*self]\n", 4, "refers to itself"),
])
def test_what_plain_values_no_longer_show_is_refused(file: Path, text: str, line: int, says: str) -> None:
    """Keys given twice, keys that are no text and aliases that contain themselves are errors."""
    error = _refused(file, text)
    assert says in str(error)


@pytest.mark.parametrize(("text", "line", "says"), [
    ("id: a\nname: [\n", 3, "not YAML"),
    ("id: a\n\tname: b\n", 2, "not YAML"),
    ("id: *nobody\n", 1, "not YAML"),
    ("id: a\nname: !!python/object:os.system x\n", 2, "not YAML"),
    ("id: a\n---\nid: b\n", 2, "not YAML"),
    ("id: a\nname: A\n? [a]\n: b\n", 3, "not YAML"),
    ("id: a\nname: \x00\n", 1, "not YAML"),
    ("id: a\nname: A\nconfig: {n: 0x_}\n", 1, "number that cannot be read"),
    ("id: " + "[" * 5000 + "]" * 5000, 1, "nested too deeply"),
])
def test_a_file_that_is_no_yaml_is_refused(file: Path, text: str, line: int, says: str) -> None:
    """A syntax error is an error with its line, and no code is run by reading."""
    error = _refused(file, text)
    assert says in str(error)
    assert str(error).startswith(f"{file}:{line}: ")


def test_bytes_that_are_no_text_are_refused(file: Path) -> None:
    """Files are UTF-8."""
    file.write_bytes(b"id: \xff\xfe\n")
    with pytest.raises(ConfigurationError, match="not text in UTF-8"):
        read_document(file)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    """The operating system's reason is part of the error."""
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        read_document(tmp_path)


def test_all_mistakes_are_reported_in_order_up_to_ten(file: Path) -> None:
    """An operator sees the mistakes of a file at once, in the order of its lines."""
    error = _refused(file, "id: a\nname: A\nconfig:\n" + "".join(f"  k{n}: {{secret_ref: ''}}\n" for n in range(15)))
    lines = str(error).splitlines()
    assert [line.split(":")[1] for line in lines[:10]] == [str(n) for n in range(4, 14)]
    assert lines[10:] == ["... and 5 more"]
