"""A workflow as a Mermaid flowchart, from its code: the same code always gives the same text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bifrost.authoring import reading, source
from bifrost.authoring.flow import Block, Branch, Called, Handler, Item, Jump, Loop, Parallel, Raise, Return, Step, Try
from bifrost.authoring.mermaid import Edge, Flowchart
from bifrost.workspace.revision import Revision


def diagram(revision: Revision, path: str, name: str, safe: frozenset[str] = frozenset()) -> str:
    """The flowchart of the workflow `name`. Nothing of it is executed but its modules' top level.

    Args:
        revision: Whose source is read.
        path: The file that defines it, relative to the workspace.
        name: The workflow's name.
        safe: Packages that a run may use, beside those of the standard library that only compute.

    Raises:
        NotFoundError: the file does not define it.
        Exception: whatever loading the file in a run would raise.
    """
    read = source.read(revision, path, name, safe)
    drawing = _Drawing()
    start = drawing.chart.node("end", name, ", ".join(one.name for one in read.metadata.parameters) or "no parameters")
    last = drawing.block(reading.read(read), [Edge(start)])
    if last:
        drawing.chart.node("end", "return", after=last)
    return drawing.chart.text()


@dataclass
class _Room:
    """A `try` that is being drawn, and what leaves its inside otherwise than at the end."""

    handlers: list[Handler]
    has_final: bool
    depth: int
    thrown: list[list[Edge]]
    ended: list[Edge] = field(default_factory=list)
    returned: list[Edge] = field(default_factory=list)

    def catching(self, error: type | None) -> int | None:
        """Which handler catches an error; one that is not known is caught by those that catch everything."""
        for place, handler in enumerate(self.handlers):
            if any(issubclass(error or Exception, caught) for caught in handler.errors):
                return place
        return None


@dataclass
class _Turn:
    """A loop that is being drawn."""

    header: str
    broken: list[Edge] = field(default_factory=list)


class _Drawing:
    """Draws blocks. What is drawn answers the edges that lead on from it."""

    def __init__(self) -> None:
        self.chart = Flowchart()
        self._rooms: list[_Room] = []
        self._turns: list[_Turn] = []
        self._returned: list[list[Edge]] = []
        """For each called function that is being drawn: what leaves it by `return`."""

    def block(self, block: Block, incoming: list[Edge]) -> list[Edge]:
        """Draw items one after the other, as long as one can be reached."""
        for item in block:
            if not incoming:
                break
            incoming = self._item(item, incoming)
        return incoming

    def _item(self, item: Item, incoming: list[Edge]) -> list[Edge]:
        outgoing: list[Edge] = []
        match item:
            case Step():
                outgoing = [Edge(self.chart.node(item.shape, item.text, after=incoming))]
            case Branch():
                outgoing = self._arms("branch", item.text, item, incoming)
            case Parallel():
                outgoing = self._parallel(item, incoming)
            case Loop():
                outgoing = self._loop(item, incoming)
            case Try():
                outgoing = self._try(item, incoming)
            case Called():
                outgoing = self._called(item, incoming)
            case Return():
                self._return(item, incoming)
            case Raise():
                self._raise(item, incoming)
            case Jump():
                self._jump(item, incoming)
        return outgoing

    def _arms(self, shape: str, text: str, item: Branch | Parallel, incoming: list[Edge]) -> list[Edge]:
        node = self.chart.node(shape, text, after=incoming)
        return [edge for label, body in item.arms for edge in self.block(body, [Edge(node, label)])]

    def _parallel(self, item: Parallel, incoming: list[Edge]) -> list[Edge]:
        outgoing = self._arms("fork", "at the same time", item, incoming)
        return [Edge(self.chart.node("join", "all done", after=outgoing))] if outgoing else []

    def _loop(self, loop: Loop, incoming: list[Edge]) -> list[Edge]:
        first = self.chart.next
        header = self.chart.node("loop", loop.text, after=self.block(loop.head, incoming))
        turn = _Turn(first)
        self._turns.append(turn)
        self.chart.lead(self.block(loop.body, [Edge(header, loop.enter)]), first)
        self._turns.pop()
        left = [] if loop.leave is None else [Edge(header, loop.leave)]
        return [*self.block(loop.otherwise, left), *turn.broken]

    def _jump(self, jump: Jump, incoming: list[Edge]) -> None:
        if jump.leaves:
            self._turns[-1].broken += incoming
        else:
            self.chart.lead(incoming, self._turns[-1].header)

    def _called(self, called: Called, incoming: list[Edge]) -> list[Edge]:
        self._returned.append([])
        outgoing = self.block(called.body, incoming)
        return outgoing + self._returned.pop()

    def _return(self, item: Return, incoming: list[Edge]) -> None:
        room = next((room for room in reversed(self._rooms) if room.has_final and room.depth == len(self._returned)), None)
        if self._returned:
            (room.returned if room else self._returned[-1]).extend(incoming)
            return
        node = self.chart.node("end", item.text, after=incoming)
        if room:
            room.ended.append(Edge(node))

    def _raise(self, item: Raise, incoming: list[Edge]) -> None:
        node = self.chart.node("end", item.text, after=incoming)
        for room in reversed(self._rooms):
            place = room.catching(item.error)
            if place is not None:
                room.thrown[place].append(Edge(node, "", dotted=True))
                return
            if room.has_final:
                room.ended.append(Edge(node))
                return

    def _try(self, item: Try, incoming: list[Edge]) -> list[Edge]:
        room = _Room(list(item.handlers), bool(item.final), len(self._returned), [[] for _ in item.handlers])
        self._rooms.append(room)
        node = self.chart.node("plain", "try", after=incoming) if item.handlers else ""
        outgoing = self.block(item.body, [Edge(node)] if node else incoming)
        room.handlers = []  # what the rest raises is not caught here
        outgoing = self.block(item.otherwise, outgoing)
        for handler, thrown in zip(item.handlers, room.thrown, strict=True):
            outgoing += self.block(handler.body, [Edge(node, handler.text, dotted=True), *thrown])
        self._rooms.pop()
        return self._finally(item, room, outgoing) if item.final else outgoing

    def _finally(self, item: Try, room: _Room, outgoing: list[Edge]) -> list[Edge]:
        last = self.block(item.final, _labelled([*outgoing, *room.ended, *room.returned], "finally"))
        if room.returned:
            self._returned[-1] += last
        return last if outgoing else []


def _labelled(edges: Iterable[Edge], label: str) -> list[Edge]:
    return [edge._replace(label=f"{edge.label}, {label}" if edge.label else label) for edge in edges]
