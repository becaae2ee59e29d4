"""What is known of a measurement, and whether that is good enough."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

KEPT = 20
"""Up to how many values are written one by one."""


@dataclass(frozen=True)
class Figure:
    """One thing that was measured several times.

    Args:
        what: What was measured, of whatever: `start→result, 5 calls`.
        unit: `ms`, `s`, `MB`, `/s`; `x` for a ratio.
        values: One for each round.
        bound: What the median should keep to, if there is something.
        at_least: Whether it should not fall below the bound, rather than not exceed it.
        of: The contender whose it is, where that is not said in `what`.
        against: For a ratio: the contender that it is divided by.
        missing: Why there are no values; a figure without any is neither met nor missed.
    """

    what: str
    unit: str
    values: Sequence[float]
    bound: float | None = None
    at_least: bool = False
    of: str = ""
    against: str = ""
    missing: str = ""

    @property
    def median(self) -> float:
        """The value to quote."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median keeps to the bound; None where there is no bound, or nothing was measured."""
        if self.bound is None or not self.values:
            return None
        return self.median >= self.bound if self.at_least else self.median <= self.bound

    def __str__(self) -> str:
        whole = self.what + (f", {self.of}" if self.of else "") + (f" over {self.against}" if self.against else "")
        if not self.values:
            return f"{whole:<64} not measured: {self.missing}"
        bound = "" if self.bound is None else (
            f"   at {'least' if self.at_least else 'most'} {self.bound:g}: {'yes' if self.met else 'NO'}")
        return (f"{whole:<64} {self.median:>9.3f} {self.unit:<3} ({min(self.values):.3f} to {max(self.values):.3f}, "
                f"n={len(self.values)}){bound}")

    def as_dict(self, benchmark: str) -> dict[str, Any]:
        """The figure as JSON, to six digits."""
        measured = {"missing": self.missing} if not self.values else {
            "median": _short(self.median), "min": _short(min(self.values)), "max": _short(max(self.values))}
        each = {"values": [_short(value) for value in self.values]} if len(self.values) <= KEPT else {}
        return {"benchmark": benchmark, "what": self.what, "of": self.of, "against": self.against, "unit": self.unit, **measured,
                "n": len(self.values), "bound": self.bound, "at_least": self.at_least, "met": self.met, **each}


def _short(value: float) -> float:
    return float(f"{value:.6g}")
