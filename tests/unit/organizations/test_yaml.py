"""Organizations in a file or a folder: what changes, what stays in force."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import structlog

from bifrost.errors import ConfigurationError
from bifrost.models import OrganizationLimits, ScheduleOverride
from bifrost.organizations.yaml import YamlOrganizations


def _write(file: Path, *ids: str) -> None:
    file.write_text("organizations:\n" + "".join(f"- {{id: {org_id}, name: Name}}\n" for org_id in ids))


def _ids(store: YamlOrganizations) -> list[str]:
    return [organization.id for organization in store.all()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "organizations.yaml"


def test_a_missing_file_is_refused_with_the_cure(file: Path) -> None:
    """The error names the variable that says where the file is."""
    with pytest.raises(ConfigurationError, match="BIFROST_ORGANIZATIONS") as caught:
        YamlOrganizations(file)
    assert str(file) in str(caught.value)


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    """Other files and hidden ones do not count."""
    (tmp_path / "README.md").write_text("nothing")
    (tmp_path / ".hidden.yaml").write_text("nothing: [")
    with pytest.raises(ConfigurationError, match=r"no \*\.yaml file in the folder"):
        YamlOrganizations(tmp_path)


def test_the_first_reading_raises(file: Path) -> None:
    """A process does not start with organizations that it cannot read."""
    file.write_text("organizations: [")
    with pytest.raises(ConfigurationError, match="not YAML"):
        YamlOrganizations(file)


def test_a_folder_is_read_in_order(tmp_path: Path) -> None:
    """Every *.yaml and *.yml counts; a file holds one organization or a list, and one file the global scope."""
    _write(tmp_path / "b.yaml", "zeta", "beta")
    (tmp_path / "a.yml").write_text("id: alpha\nname: Alpha\n")
    (tmp_path / "global.yaml").write_text("global: {config: {a: 1}}\n")
    (tmp_path / "notes.txt").write_text("not yaml: [")
    store = YamlOrganizations(tmp_path)
    assert _ids(store) == ["alpha", "beta", "zeta"]
    assert store.global_config() == {"a": 1}


def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    """What is named by the setting is read, whatever its ending."""
    _write(tmp_path / "organizations.conf", "acme")
    assert _ids(YamlOrganizations(tmp_path / "organizations.conf")) == ["acme"]


def test_an_id_that_is_given_twice_in_a_file_is_refused(file: Path) -> None:
    """The error names both places."""
    _write(file, "acme", "globex", "acme")
    with pytest.raises(ConfigurationError, match="given twice") as caught:
        YamlOrganizations(file)
    assert str(caught.value).startswith(f"{file}:4: the organization 'acme'")
    assert f"{file}:2" in str(caught.value)


def test_an_id_that_two_files_give_is_refused(tmp_path: Path) -> None:
    """So it is across files."""
    _write(tmp_path / "a.yaml", "acme")
    _write(tmp_path / "b.yaml", "globex", "acme")
    with pytest.raises(ConfigurationError) as caught:
        YamlOrganizations(tmp_path)
    assert str(tmp_path / "a.yaml:2") in str(caught.value)
    assert str(tmp_path / "b.yaml:3") in str(caught.value)


def test_a_second_global_scope_is_refused(tmp_path: Path) -> None:
    """Only one file of a folder may have it."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("# comment\nglobal: {config: {a: 1}}\n")
    with pytest.raises(ConfigurationError, match="'global' is given twice") as caught:
        YamlOrganizations(tmp_path)
    assert str(tmp_path / "a.yaml:2") in str(caught.value)


def test_schedules_are_the_organizations_own_and_else_everybodys(tmp_path: Path) -> None:
    """Key by key: what `global` says of a workflow holds where an organization says nothing."""
    (tmp_path / "a.yaml").write_text("id: a\nname: A\nschedules:\n  audit: {cron: 0 6 * * 1, paused: false}\n  report: {enabled: true}\n")
    (tmp_path / "b.yaml").write_text("id: b\nname: B\n")
    assert YamlOrganizations(tmp_path).get("b").schedules == {}
    (tmp_path / "global.yaml").write_text("global: {schedules: {audit: {timezone: Europe/Berlin, paused: true}}}\n")
    store = YamlOrganizations(tmp_path)
    everybodys = {"audit": ScheduleOverride(timezone="Europe/Berlin", paused=True)}
    assert (store.global_schedules(), store.get("b").schedules) == (everybodys, everybodys)
    assert store.get("a").schedules == {"audit": ScheduleOverride("0 6 * * 1", "Europe/Berlin", paused=False),
                                        "report": ScheduleOverride(enabled=True)}


def test_limits_are_the_organizations_own_and_else_everybodys(tmp_path: Path) -> None:
    """Each limit by itself; `global` may stand in another file."""
    (tmp_path / "a.yaml").write_text("id: a\nname: A\nlimits: {executions: 2}\n")
    (tmp_path / "b.yaml").write_text("id: b\nname: B\n")
    assert YamlOrganizations(tmp_path).get("a").limits == OrganizationLimits(executions=2)
    assert YamlOrganizations(tmp_path).get("b").limits == OrganizationLimits()
    (tmp_path / "global.yaml").write_text("global: {limits: {executions: 9, executions_per_minute: 30}}\n")
    store = YamlOrganizations(tmp_path)
    assert store.get("a").limits == OrganizationLimits(executions=2, executions_per_minute=30)
    assert store.get("b").limits == OrganizationLimits(executions=9, executions_per_minute=30)


def test_a_change_takes_effect(file: Path) -> None:
    """The next question after a change is answered from the new content."""
    _write(file, "acme")
    store = YamlOrganizations(file, check_seconds=0)
    assert _ids(store) == ["acme"]
    _write(file, "acme", "globex")
    _wait_for(store, ["acme", "globex"])
    assert store.get("globex").id == "globex"


def test_files_of_a_folder_come_and_go(tmp_path: Path) -> None:
    """A new file is a new organization, a removed one is one less; unchanged files are not read again."""
    _write(tmp_path / "a.yaml", "acme")
    store = YamlOrganizations(tmp_path, check_seconds=0)
    acme = store.get("acme")
    _write(tmp_path / "b.yaml", "globex")
    _wait_for(store, ["acme", "globex"])
    assert store.get("acme") is acme
    (tmp_path / "b.yaml").unlink()
    _wait_for(store, ["acme"])


@pytest.mark.parametrize("broken", ["organizations: [", "", "organizations:\n- {id: GLOBAL, name: x}\n", None])
def test_a_broken_change_leaves_the_last_good_state_in_force(file: Path, broken: str | None) -> None:
    """The mistake is logged once per change, not once per question; mending it takes effect."""
    _write(file, "acme")
    store = YamlOrganizations(file, check_seconds=0)
    with structlog.testing.capture_logs() as lines:
        if broken is None:
            file.unlink()
        else:
            file.write_text(broken)
        _wait_until(lambda: store.all() and lines)
        for _ in range(5):
            time.sleep(0.005)  # lets the store look again, several times over
            assert _ids(store) == ["acme"]
    assert [line["log_level"] for line in lines] == ["warning"]
    assert str(file) in lines[0]["error"]
    _write(file, "acme", "globex")
    _wait_for(store, ["acme", "globex"])


def test_files_are_not_looked_at_all_the_time(file: Path) -> None:
    """Between two looks, questions are answered from memory."""
    _write(file, "acme")
    store = YamlOrganizations(file, check_seconds=600)
    file.unlink()
    assert _ids(store) == ["acme"]


def test_a_folder_that_cannot_be_listed_counts_as_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that vanishes between two steps of looking at it changes nothing."""
    _write(tmp_path / "a.yaml", "acme")
    store = YamlOrganizations(tmp_path, check_seconds=0)

    def vanished(_: Path) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "iterdir", vanished)
    with structlog.testing.capture_logs() as lines:
        _wait_until(lambda: store.all() and lines)
    assert _ids(store) == ["acme"]


def test_ten_thousand_organizations_load_in_seconds(file: Path) -> None:
    """A large file takes seconds to load, and a question of one organization no search."""
    file.write_text("organizations:\n" + "".join(
        f"- id: org{n}\n  name: Name {n}\n  config: {{admin_email: a@b.example, msgraph: {{client_secret: {{secret_ref: x}}}}}}\n"
        for n in range(10_000)))
    began = time.monotonic()
    store = YamlOrganizations(file, check_seconds=600)
    assert time.monotonic() - began < 20
    began = time.monotonic()
    for n in range(10_000):
        store.get(f"org{n}")
    assert time.monotonic() - began < 1


def _wait_until(condition) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def _wait_for(store: YamlOrganizations, ids: list[str]) -> None:
    _wait_until(lambda: _ids(store) == ids)
