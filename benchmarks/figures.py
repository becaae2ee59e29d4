"""What is printed of a measurement."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One thing that was measured several times. `bound` is what it should not exceed, or None."""

    what: str
    unit: str
    values: Sequence[float]
    bound: float | None = None

    @property
    def median(self) -> float:
        """The value to quote."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        bound = "" if self.bound is None else f"   at most {self.bound:g}: {'yes' if self.median <= self.bound else 'NO'}"
        return (f"{self.what:<64} {self.median:>9.3f} {self.unit:<3} ({min(self.values):.3f} to {max(self.values):.3f}, "
                f"n={len(self.values)}){bound}")

    def as_dict(self, benchmark: str) -> dict[str, Any]:
        """The figure as JSON."""
        return {"benchmark": benchmark, "what": self.what, "unit": self.unit, "median": self.median, "min": min(self.values),
                "max": max(self.values), "n": len(self.values), "bound": self.bound}
