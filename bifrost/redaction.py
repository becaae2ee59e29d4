"""The last line of defence for secrets: every value read from Vault is remembered, and masked wherever it would go out.

Log lines, errors and Temporal payloads pass through `mask`. It finds a value as it is, escaped as in JSON or in Python,
URL-encoded, and in base64 alone or within a longer text (as in `Authorization: Basic`). It is a net below the rule that
keeps values out of workflow code, not a replacement for it.

A worker serves thousands of values, so the cost of masking depends on the length of the text and not on how many values
are known: a text is looked at in blocks of a few characters, every third of which is looked up.
"""

from __future__ import annotations

import base64
import json
import threading
import urllib.parse

MASK = "********"
MIN_LENGTH = 6
"""Values shorter than this, in characters, are not masked: they would hit unrelated text."""

_ERRORS = "surrogatepass"  # what JSON may hold and UTF-8 may not

_lock = threading.Lock()
_values: set[str] = set()
_STEP = 3
_BLOCK = MIN_LENGTH - _STEP + 1  # so that within any spelling, wherever it begins, one of every third blocks lies whole
_by_block: dict[str, list[tuple[int, str]]] = {}
"""Every spelling, three times: under the blocks at its first three places, with the place."""


def _base64_spellings(value: bytes) -> set[str]:
    """How base64 spells `value`, alone and at each of the three places it can have within a longer text."""
    alone = base64.b64encode(value).decode()
    spelled = {alone, alone.rstrip("=")}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + value).decode()
        first, end = -(-offset * 8 // 6), (offset + len(value)) * 8 // 6  # the characters that no neighbour has a bit in
        spelled.add(encoded[first:end])
    return spelled | {spelling.replace("+", "-").replace("/", "_") for spelling in spelled}


def _spellings(value: str) -> set[str]:
    return {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1],
            urllib.parse.quote(value, safe="", errors=_ERRORS), urllib.parse.quote(value, errors=_ERRORS),
            urllib.parse.quote_plus(value, errors=_ERRORS), *_base64_spellings(value.encode(errors=_ERRORS))}


def remember(value: str) -> None:
    """From now on, mask `value` in everything that goes out of this process."""
    if len(value) < MIN_LENGTH or value in _values:
        return
    with _lock:
        _values.add(value)
        for spelling in _spellings(value):
            for place in range(_STEP):
                _by_block.setdefault(spelling[place:place + _BLOCK], []).append((place, spelling))


def mask(text: str) -> str:
    """`text` with every remembered value replaced by stars."""
    if not _by_block:
        return text
    near = [at for at in range(0, len(text) - _BLOCK + 1, _STEP) if text[at:at + _BLOCK] in _by_block]
    found = sorted({(at - place, -len(spelling)) for at in near for place, spelling in _by_block[text[at:at + _BLOCK]]
                    if at >= place and text.startswith(spelling, at - place)})
    parts, end = [], 0
    for start, negative_length in found:  # by place, the longest spelling first
        if start >= end:
            parts += [text[end:start], MASK]
            end = start - negative_length
    return "".join([*parts, text[end:]]) if parts else text


def mask_bytes(data: bytes) -> bytes:
    """`data` with every remembered value replaced by stars, whatever else it holds."""
    if not _by_block:
        return data
    text = data.decode("utf-8", "surrogateescape")
    masked = mask(text)
    return data if masked == text else masked.encode("utf-8", "surrogateescape")
