"""Everybody who is compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from benchmarks.contenders import Contender, dbos, prefect, restate
from benchmarks.contenders.ours import SHORT, Bifrost
from benchmarks.contenders.sdk import Stock, Tuned

_ALL: tuple[Contender, ...] = (
    Bifrost(), Bifrost("bifrost-short", SHORT), Tuned(), Stock(), *dbos.CONTENDERS, *restate.CONTENDERS, *prefect.CONTENDERS)
LINEUP: Mapping[str, Contender] = {contender.name: contender for contender in _ALL}


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """What those are made of whose names these are; other names are nobody's."""
    return {library: number for name in names if name in LINEUP for library, number in LINEUP[name].versions.items()}
