"""Organizations handed over as objects: for tests, and for programs that keep their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bifrost.models import Organization, ScheduleOverride
from bifrost.organizations.base import OrganizationStore


class MemoryOrganizations(OrganizationStore):
    """A store of the organizations it is given."""

    def __init__(self, organizations: Sequence[Organization], global_config: Mapping[str, Any] | None = None,
                 global_schedules: Mapping[str, ScheduleOverride] | None = None) -> None:
        self._organizations = sorted(organizations, key=lambda organization: organization.id)
        self._global_config = dict(global_config or {})
        self._global_schedules = dict(global_schedules or {})

    def all(self) -> Sequence[Organization]:
        return self._organizations

    def global_config(self) -> Mapping[str, Any]:
        return self._global_config

    def global_schedules(self) -> Mapping[str, ScheduleOverride]:
        return self._global_schedules
