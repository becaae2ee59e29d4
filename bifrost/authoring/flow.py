"""The words that tell what a workflow does: steps in their order, and the branches, loops and errors around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is done. `recursive`: a call of the function that it stands in."""

    shape: str
    text: str
    recursive: bool = False


@dataclass(frozen=True, slots=True)
class Return:
    """The end of a function."""

    text: str


@dataclass(frozen=True, slots=True)
class Raise:
    """An error, and its class where that is known."""

    text: str
    error: type | None


@dataclass(frozen=True, slots=True)
class Jump:
    """`break` (it leaves the loop) or `continue`."""

    leaves: bool


@dataclass(frozen=True, slots=True)
class Branch:
    """One of several arms, each with its label."""

    text: str
    arms: tuple[tuple[str, Block], ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop; `head` is done before each turn. `leave` is None where only a `break` ends it."""

    text: str
    head: Block
    body: Block
    otherwise: Block = ()
    enter: str = "each"
    leave: str | None = "done"


@dataclass(frozen=True, slots=True)
class Handler:
    """An `except`, and the classes that it catches where they are known."""

    text: str
    errors: tuple[type, ...]
    body: Block


@dataclass(frozen=True, slots=True)
class Try:
    """A `try`; `body` includes nothing of its `else`."""

    body: Block
    handlers: tuple[Handler, ...]
    otherwise: Block
    final: Block


@dataclass(frozen=True, slots=True)
class Parallel:
    """What is done at the same time, each with a label."""

    arms: tuple[tuple[str, Block], ...]


@dataclass(frozen=True, slots=True)
class Called:
    """The body of a function that is called: its `Return` leads on behind it."""

    body: Block


Item = Step | Return | Raise | Jump | Branch | Loop | Try | Parallel | Called
Block = tuple[Item, ...]
"""What is done, in its order."""


def _parts(item: Item) -> list[Block]:
    match item:
        case Branch() | Parallel():
            return [body for _, body in item.arms]
        case Loop():
            return [item.head, item.body, item.otherwise]
        case Try():
            return [item.body, *(handler.body for handler in item.handlers), item.otherwise, item.final]
        case Called():
            return [item.body]
    return []


def holds(block: Block, test: Callable[[Item], bool]) -> bool:
    """Whether an item that passes a test is in it, however deep."""
    return any(test(item) or any(holds(part, test) for part in _parts(item)) for item in block)


def without_last_return(block: Block) -> Block:
    """The body of a called function without the `return` that it would end without, too."""
    while block:
        *before, last = block
        if isinstance(last, Branch):
            arms = tuple((label, without_last_return(body)) for label, body in last.arms)
            if any(body for _, body in arms):
                return (*before, replace(last, arms=arms))
        elif not isinstance(last, Return):
            break
        block = tuple(before)
    return block
