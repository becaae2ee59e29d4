"""The port to wherever organizations are kept."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

from bifrost.errors import NotFoundError
from bifrost.models import Organization, ScheduleOverride


class OrganizationStore(abc.ABC):
    """Organizations by id, and the configuration that applies where an organization has none of its own."""

    @abc.abstractmethod
    def all(self) -> Sequence[Organization]:
        """Every organization, ordered by id, inactive ones too.

        Raises:
            ConfigurationError: the source cannot be read, and never could; names file, line and key.
        """

    @abc.abstractmethod
    def global_config(self) -> Mapping[str, Any]:
        """The configuration of the GLOBAL scope."""

    def global_schedules(self) -> Mapping[str, ScheduleOverride]:
        """What is said of workflows' schedules for all organizations, by workflow; each organization's `schedules` have it already."""
        return {}

    def get(self, org_id: str) -> Organization:
        """One organization.

        Raises:
            NotFoundError: there is none of that id; names similar ids.
        """
        by_id = {organization.id: organization for organization in self.all()}
        if org_id not in by_id:
            raise NotFoundError.of("Organization", org_id, by_id)
        return by_id[org_id]
