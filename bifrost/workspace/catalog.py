"""Everything that discovery found in one state of the workspace, and what it could not load, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bifrost.errors import ConfigurationError, NotFoundError
from bifrost.integrations.base import BaseIntegration
from bifrost.models import DataProviderMetadata, WorkflowMetadata


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something of the workspace cannot be used.

    Attributes:
        file: The file, relative to the workspace.
        line: The line in it, or None where no line is to blame.
        reason: A sentence.
        workflows: The names of the workflows that cannot run because of it, as far as the text tells.
    """

    file: str
    line: int | None
    reason: str
    workflows: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


@dataclass(frozen=True, slots=True)
class WorkflowEntry:
    """A workflow, and the file that defines it, relative to the workspace."""

    metadata: WorkflowMetadata
    path: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """The workflows, data providers and integrations of one revision, by name."""

    revision: str
    workflows: Mapping[str, WorkflowEntry] = field(default_factory=dict)
    data_providers: Mapping[str, DataProviderMetadata] = field(default_factory=dict)
    integrations: Mapping[str, type[BaseIntegration]] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def workflow(self, name: str) -> WorkflowEntry:
        """A workflow by name.

        Raises:
            ConfigurationError: its file could not be loaded; says where and why.
            NotFoundError: there is none; names similar ones.
        """
        if name in self.workflows:
            return self.workflows[name]
        for failure in self.failures:
            if name in failure.workflows:
                raise ConfigurationError(f"Workflow '{name}' cannot be loaded: {failure}", workflow=name,
                                         file=failure.file, line=failure.line)
        raise NotFoundError.of("Workflow", name, self.workflows)

    def data_provider(self, name: str) -> DataProviderMetadata:
        """A data provider by name.

        Raises:
            NotFoundError: there is none; names similar ones, and the files that could not be loaded.
        """
        if name not in self.data_providers:
            unloaded = [str(failure) for failure in self.failures if failure.file.startswith("data_providers/")]
            raise NotFoundError.of("Data provider", name, self.data_providers, "; ".join(["It may be in what cannot be loaded", *unloaded])
                                   if unloaded else "")
        return self.data_providers[name]
