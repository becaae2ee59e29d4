"""Every store of organizations keeps the same promises."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bifrost.errors import NotFoundError
from bifrost.models import Organization
from bifrost.organizations.base import OrganizationStore
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.organizations.yaml import YamlOrganizations

ORGANIZATIONS = [
    Organization("globex", "Globex", "globex-tenant", active=False),
    Organization("acme", "Acme Ltd", "acme-tenant", config={"admin_email": "it@acme.example", "nested": {"list": [1, None]}}),
]
GLOBAL_CONFIG = {"support_email": "help@msp.example"}


def _entry(organization: Organization) -> dict[str, object]:
    return {"id": organization.id, "name": organization.name, "tenant_id": organization.tenant_id,
            "active": organization.active, "config": organization.config}


def _file(folder: Path) -> Path:
    file = folder / "organizations.yaml"
    file.write_text(yaml.safe_dump({"global": {"config": GLOBAL_CONFIG}, "organizations": list(map(_entry, ORGANIZATIONS))}))
    return file


def _folder(folder: Path) -> Path:
    (folder / "global.yml").write_text(yaml.safe_dump({"global": {"config": GLOBAL_CONFIG}}))
    for organization in ORGANIZATIONS:
        (folder / f"{organization.id}.yaml").write_text(yaml.safe_dump(_entry(organization)))
    return folder


@pytest.fixture(params=["memory", "file", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> OrganizationStore:
    """One store after the other, with the same content."""
    if request.param == "memory":
        return MemoryOrganizations(ORGANIZATIONS, GLOBAL_CONFIG)
    return YamlOrganizations(_file(tmp_path) if request.param == "file" else _folder(tmp_path))


def test_all_organizations_are_listed_in_order(store: OrganizationStore) -> None:
    """`all` answers every organization, inactive ones too, ordered by id."""
    assert list(store.all()) == sorted(ORGANIZATIONS, key=lambda organization: organization.id)


def test_one_organization_is_found_by_its_id(store: OrganizationStore) -> None:
    """`get` answers the organization whole."""
    assert store.get("acme") == ORGANIZATIONS[1]
    assert not store.get("globex").active


@pytest.mark.parametrize(("wrong", "near"), [("acmee", ["acme"]), ("ACME", []), ("", []), ("GLOBAL", [])])
def test_an_unknown_id_is_refused_with_similar_ones(store: OrganizationStore, wrong: str, near: list[str]) -> None:
    """`get` of an id that is none says so, and names what is like it."""
    with pytest.raises(NotFoundError, match=f"Organization '{wrong}' not found") as caught:
        store.get(wrong)
    assert caught.value.details == {"kind": "organization", "name": wrong, "near": near}


def test_the_global_configuration_stands_beside_them(store: OrganizationStore) -> None:
    """`global_config` answers the GLOBAL scope, which is no organization."""
    assert store.global_config() == GLOBAL_CONFIG
    assert "GLOBAL" not in [organization.id for organization in store.all()]
