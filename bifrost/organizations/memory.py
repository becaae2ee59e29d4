"""Organizations handed over as objects: for tests, and for programs that keep their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bifrost.models import Organization
from bifrost.organizations.base import OrganizationStore


class MemoryOrganizations(OrganizationStore):
    """A store of the organizations it is given."""

    def __init__(self, organizations: Sequence[Organization], global_config: Mapping[str, Any] | None = None) -> None:
        self._organizations = sorted(organizations, key=lambda organization: organization.id)
        self._global_config = dict(global_config or {})

    def all(self) -> Sequence[Organization]:
        return self._organizations

    def global_config(self) -> Mapping[str, Any]:
        return self._global_config
