"""What is measured, and the port that measurements leave by.

Every metric of Bifrost's own stands in the table below; Temporal's SDK adds its own, which begin with `temporal_`. A process
that exposes no metrics records none: `record` does nothing until `use` was called.

Labels are bounded. No metric has an organization as a label: a thousand tenants, times integrations and outcomes, is more
than a Prometheus should hold. An organization is counted in its class, which is whatever its configuration has under
`organization_class` (a tier, a region), and which single one it was is said by the log lines and by Temporal's search
attribute `BifrostOrg`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

_FAST: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SLOW: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: As it is recorded; `exposed` is how Prometheus sees it.
        kind: What becomes of values: added up, sorted into buckets, or the last one counts.
        help: What it means.
        labels: The names of its labels.
        unit: The unit of its values.
        buckets: The upper bounds of a histogram's buckets.
    """

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()

    @property
    def exposed(self) -> str:
        """The name on `/metrics`: with its unit, and `_total` where it is a counter."""
        return "_".join(filter(None, [self.name, self.unit, "total" if self.kind == "counter" else ""]))


CALLS = Metric("bifrost_calls", "counter", "Attempts of integration calls, by how they ended.",
               ("integration", "outcome", "organization_class"))
CALL_DURATION = Metric("bifrost_call_duration", "histogram", "How long attempts of integration calls took.",
                       ("integration",), "seconds", _FAST)
CALL_RETRIES = Metric("bifrost_call_retries", "counter", "Attempts that were not the first of their call.", ("integration",))
CALL_THROTTLES = Metric("bifrost_call_throttles", "counter", "Attempts that were answered with 429.", ("integration",))
CIRCUIT_OPENINGS = Metric("bifrost_circuit_openings", "counter",
                          "How often calls of an organization's integration began to wait because its system is down.", ("integration",))
CHECKPOINT_LAG = Metric("bifrost_checkpoint_lag", "histogram", "From passing a checkpoint to its being recorded as done.",
                        (), "seconds", _FAST)
SCHEDULE_LAG = Metric("bifrost_schedule_lag", "histogram", "From an execution's scheduled time to its beginning in a worker.",
                      (), "seconds", _SLOW)
EXECUTIONS = Metric("bifrost_executions", "counter", "Executions that ended in this worker, by outcome.", ("workflow", "outcome"))
SECRET_READS = Metric("bifrost_secret_reads", "counter", "Reads of secrets: from memory (hit), from Vault (miss), or failed (error).",
                      ("outcome",))
REVISIONS = Metric("bifrost_revisions", "gauge", "Snapshots of the workspace in the store of revisions.")

TABLE: Final[tuple[Metric, ...]] = (
    CALLS, CALL_DURATION, CALL_RETRIES, CALL_THROTTLES, CIRCUIT_OPENINGS, CHECKPOINT_LAG, SCHEDULE_LAG, EXECUTIONS, SECRET_READS,
    REVISIONS)
"""Every metric of Bifrost's own."""

OUTCOMES: Final = ("success", "refused", "throttled", "down", "held", "cancelled", "error")
"""How an attempt ends: the other system did it; refused it (4xx); had too much to do (429); gave no answer, or one of 500 and
above; it was not tried, because the system is down; its execution gave it up; anything else, such as a mistake in the code."""

CLASS_KEY: Final = "organization_class"
"""The configuration key whose value is an organization's class."""
MAX_CLASSES: Final = 20
"""How many classes one process tells apart; whoever is in another one counts as `other`."""

Recorder = Callable[[Metric, float, Mapping[str, str]], None]
_recorders: list[Recorder] = []
_classes: set[str] = set()


def use(recorder: Recorder | None) -> None:
    """Have this process's measurements recorded there; None for nowhere."""
    _recorders[:] = [] if recorder is None else [recorder]


def recorded() -> bool:
    """Whether anybody records measurements: for what is not worth finding out otherwise."""
    return bool(_recorders)


def record(metric: Metric, value: float = 1, **labels: str) -> None:
    """Record a value: an amount of a counter, an observation of a histogram, or what a gauge now stands at."""
    for recorder in _recorders:
        recorder(metric, value, labels)


def organization_class(configured: object) -> str:
    """The label of an organization whose configuration says this; `default` where it says nothing."""
    name = str(configured) if configured not in (None, "") else "default"
    if name not in _classes and len(_classes) >= MAX_CLASSES:
        return "other"
    _classes.add(name)
    return name
