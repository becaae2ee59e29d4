"""What a data provider may answer, and whether a value is among it.

Options are told apart by their values' texts, because a form sends texts: of `1` and `"1"` a list has only one.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bifrost.errors import ValidationError
from bifrost.messages import OptionCheck
from bifrost.temporal.payloads.values import encode

MOST: Final = 1000
"""How many options a data provider may answer."""
_FIELDS: Final = ("label", "value", "metadata")
_SHAPE: Final = 'An option is {"label": "Finance", "value": "fin", "metadata": {…}}; metadata may be left out'


def options_of(answer: Any, provider: str) -> list[dict[str, Any]]:
    """What a data provider answered, as JSON.

    Raises:
        ValidationError: it is no list, it is too long, or an option is not as it must be; names the first one by its index.
    """
    if not isinstance(answer, list):
        raise _refused(provider, f"must return a list, got {type(answer).__name__}")
    if len(answer) > MOST:
        raise _refused(provider, f"returned {len(answer):,} options, and {MOST:,} is the most that anybody can choose from: "
                                 "give it a parameter to narrow them by")
    options: list[dict[str, Any]] = json.loads(encode(answer, f"What the data provider '{provider}' returned", "options"))
    first: dict[str, int] = {}
    for index, option in enumerate(options):
        _check(option, index, provider)
        if (same := first.setdefault(text_of(option["value"]), index)) != index:
            raise _refused(provider, f"options[{index}] has the value of options[{same}], {option['value']!r}: values must differ",
                           f"options[{index}].value")
    return options


def _check(option: Any, index: int, provider: str) -> None:
    where = f"options[{index}]"
    if not isinstance(option, dict):
        raise _refused(provider, f"{where} is {_kind(option)}. {_SHAPE}", where)
    missing = [name for name in ("label", "value") if name not in option]
    unknown = [name for name in option if name not in _FIELDS]
    if missing:
        raise _refused(provider, f"{where} has no {' and no '.join(missing)}. {_SHAPE}", where)
    if unknown:
        raise _refused(provider, f"{where} has an unknown field {unknown[0]!r}: put it into metadata. {_SHAPE}", where)
    label, value, metadata = (option.get(name) for name in _FIELDS)
    if not isinstance(label, str) or not label.strip():
        raise _refused(provider, f"{where}.label is {'empty' if label in ('', None) or isinstance(label, str) else _kind(label)}: "
                                 "it must be a text to show", f"{where}.label")
    if value is None or value == "":
        raise _refused(provider, f"{where}.value is empty", f"{where}.value")
    if not isinstance(value, str | int | float):
        raise _refused(provider, f"{where}.value is {_kind(value)}: it must be a text, a number, or true or false", f"{where}.value")
    if metadata is not None and not isinstance(metadata, dict):
        raise _refused(provider, f"{where}.metadata is {_kind(metadata)}: it must be a dictionary", f"{where}.metadata")


def _kind(value: Any) -> str:
    return "null" if value is None else f"of type {type(value).__name__}"


def _refused(provider: str, why: str, field: str | None = None) -> ValidationError:
    return ValidationError(f"Data provider '{provider}' {why}" if field is None else f"Data provider '{provider}': {why}",
                           field=field, provider=provider)


def text_of(value: Any) -> str:
    """A value as a form sends it."""
    if isinstance(value, str):
        return value
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value, sort_keys=True)


def refusal(check: OptionCheck, options: Sequence[Mapping[str, Any]]) -> str | None:
    """Why a parameter's value is refused, with similar options; None if all of it is among them."""
    known = {text_of(option["value"]): option["label"] for option in options}
    wrong = next((value for value in check.values if text_of(value) not in known), None)
    if wrong is None:
        return None
    why = f"Parameter '{check.parameter}' must be one of the options of '{check.provider}', and {wrong!r} is none"
    if not known:
        return f"{why}: there are no options now"
    near = [repr(value) if value == label else f"{value!r} ({label})" for value, label in _near(text_of(wrong), known)]
    return f"{why}. Did you mean {' or '.join(near)}?" if near else why


def _near(wrong: str, known: Mapping[str, str]) -> list[tuple[str, str]]:
    """Up to three options whose value or label is like what was given, the most similar first."""
    spelled = {spelling.casefold(): (value, label) for value, label in known.items() for spelling in (label, value)}
    found = difflib.get_close_matches(wrong.casefold(), list(spelled), n=3, cutoff=0.6)
    return list(dict.fromkeys(spelled[spelling] for spelling in found))
