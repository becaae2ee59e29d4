"""Mermaid's language of flowcharts: https://mermaid.js.org/syntax/flowchart.html.

Nodes are called n1, n2, … in the order in which they are made, so the same chart always has the same text. Every text is
quoted, and what means something to Mermaid within quotes is written as an entity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

SHAPES: Mapping[str, tuple[str, str]] = {
    "end": ("([", "])"),
    "call": ("[[", "]]"),
    "checkpoint": ("(", ")"),
    "wait": ("[/", "/]"),
    "branch": ("{", "}"),
    "loop": ("{{", "}}"),
    "fork": ("[/", "\\]"),
    "join": ("[\\", "/]"),
    "plain": ("[", "]"),
}
"""What stands around a node's text: a stadium, a subroutine, a rounded box, a parallelogram, a diamond, a hexagon, …"""

_ENTITIES = {ord(char): f"#{name};" for char, name in {
    '"': "quot", "#": "35", "&": "amp", "<": "lt", ">": "gt", "`": "96", "\\": "92"}.items()}

_MEANT = (("%%", "#37;#37;"), ("$$", "#36;#36;"), ("direction ", "direction#32;"), (":fa-", "#58;fa-"))
"""What begins a comment or directive, a formula, a statement (in the middle of a line, too) and an icon."""


class Edge(NamedTuple):
    """An edge that has begun and waits for the node that it leads to."""

    source: str
    label: str = ""
    dotted: bool = False


class Flowchart:
    """A flowchart in the making."""

    def __init__(self) -> None:
        self._nodes: list[str] = []
        self._edges: dict[tuple[str, str, bool], list[str]] = {}

    @property
    def next(self) -> str:
        """What the next node will be called."""
        return f"n{len(self._nodes) + 1}"

    def node(self, shape: str, *lines: str, after: Iterable[Edge] = ()) -> str:
        """Add a node of one of the `SHAPES`, to which edges lead; answers what it is called."""
        name = self.next
        opening, closing = SHAPES[shape]
        self._nodes.append(f'{name}{opening}"{"<br/>".join(map(escape, lines))}"{closing}')
        self.lead(after, name)
        return name

    def lead(self, edges: Iterable[Edge], target: str) -> None:
        """Let edges lead to a node. Two between the same nodes are one, with both labels."""
        for edge in edges:
            labels = self._edges.setdefault((edge.source, target, edge.dotted), [])
            if edge.label and edge.label not in labels:
                labels.append(edge.label)

    def text(self) -> str:
        """The chart as Mermaid reads it."""
        arrows = [f"{source} {'-.->' if dotted else '-->'}{_label(labels)} {target}"
                  for (source, target, dotted), labels in self._edges.items()]
        return "\n".join(["flowchart TD", *(f"    {line}" for line in (*self._nodes, *arrows)), ""])


def _label(labels: list[str]) -> str:
    return f'|"{escape(", ".join(labels))}"|' if labels else ""


def escape(text: str) -> str:
    """A text as it may stand within quotes: on one line, and meaning nothing but itself."""
    text = "".join(char if char.isprintable() else "\ufffd" for char in " ".join(text.split()))
    # Two of a kind begin a comment or directive, and a formula.
    text = text.translate(_ENTITIES)
    for said, meant in _MEANT:
        text = text.replace(said, meant)
    # Mermaid takes the last semicolon from a line with `style`, a colon and an entity, wherever they stand.
    return text.replace(":", "#58;") if "style" in text or "classDef" in text else text or "#160;"
