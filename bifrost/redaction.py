"""The last line of defence for secrets: every value read from Vault is remembered, and masked wherever it would go out.

Log lines, errors and Temporal payloads pass through `mask`. It finds a value as it is, escaped as in JSON or in Python,
URL-encoded, in hexadecimal, and in base64 alone or within a longer text (as in `Authorization: Basic`); of a value of several
lines, such as a private key, each line too. It is a net below the rule that keeps values out of workflow code, not a
replacement for it.

A worker serves thousands of values, so the cost of masking depends on the length of the text and not on how many values
are known: a text is looked at in blocks of a few characters, every third of which is looked up.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import urllib.parse

from bifrost.context import is_sensitive

MASK = "********"
MIN_LENGTH = 6
"""Values shorter than this, in characters, are not masked: they would hit unrelated text, and a password that short is no secret."""
MIN_LINE = 16
"""Lines of a value that are shorter than this, in characters, are masked only with the whole value."""
MAX_VALUES = 20_000
"""How many values are remembered, at about 3 KB each: beyond that, those that were not read for longest are forgotten."""

_ERRORS = "surrogatepass"  # what JSON may hold and UTF-8 may not

_lock = threading.Lock()
_values: dict[str, None] = {}  # as a set that keeps the order
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
    encoded = value.encode(errors=_ERRORS)
    return {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1],
            urllib.parse.quote(value, safe="", errors=_ERRORS), urllib.parse.quote(value, errors=_ERRORS),
            urllib.parse.quote_plus(value, errors=_ERRORS), encoded.hex(), encoded.hex().upper(),
            *_base64_spellings(encoded)}


def _lines(value: str) -> list[str]:
    """The lines of a value that tell it; the first and last ones of a PEM file tell nothing."""
    lines = value.splitlines()
    return [line for line in lines if len(line) >= MIN_LINE and not line.startswith("-----")] if len(lines) > 1 else []


def _all_spellings(value: str) -> set[str]:
    return {spelling for part in (value, *_lines(value)) for spelling in _spellings(part)}


def remember(value: str) -> None:
    """From now on, mask `value` in everything that goes out of this process."""
    if len(value) < MIN_LENGTH:
        return
    with _lock:
        known = value in _values
        _values.pop(value, None)
        _values[value] = None  # read last
        if known:
            return
        for spelling in _all_spellings(value):
            for place in range(_STEP):
                _by_block.setdefault(spelling[place:place + _BLOCK], []).append((place, spelling))
        if len(_values) > MAX_VALUES:
            _forget(next(iter(_values)))


def _forget(value: str) -> None:
    del _values[value]
    for spelling in _all_spellings(value):
        for place in range(_STEP):
            block = spelling[place:place + _BLOCK]
            left = list(_by_block[block])  # another one: a thread may be reading the list
            left.remove((place, spelling))  # once: another value may be spelled so too
            if left:
                _by_block[block] = left
            else:
                del _by_block[block]


def mask(text: str) -> str:
    """`text` with every remembered value replaced by stars."""
    if not _by_block:
        return text
    near = [at for at in range(0, len(text) - _BLOCK + 1, _STEP) if text[at:at + _BLOCK] in _by_block]
    found = sorted({(at - place, -len(spelling)) for at in near for place, spelling in _by_block.get(text[at:at + _BLOCK], ())
                    if at >= place and text.startswith(spelling, at - place)})
    parts, end = [], 0
    for start, negative_length in found:  # by place, the longest spelling first
        if start >= end:
            parts += [text[end:start], MASK]
            end = start - negative_length
    return "".join([*parts, text[end:]]) if parts else text


_USERINFO = re.compile(r"(?<=://)[^/?#\s\"']+(?=@)")
_QUERY = re.compile(r"([?&;])([\w.$-]+)=([^&;#\s\"'<>\\]+)")
_IN_URLS = frozenset({"code", "sas", "sig", "signature"})
"""Parameters that carry access in URLs, and mean nothing of the kind elsewhere."""


def scrub(text: str) -> str:
    """What is said to people (a log line, an error) without remembered values, and without what gives access in its URLs.

    That is the user and password before the host, and parameters with telling names, whoever's they are. Payloads are not
    scrubbed: a URL that one call answers is often what the next one needs.
    """
    masked = mask(text)
    if "://" not in masked:
        return masked
    return _QUERY.sub(_parameter, _USERINFO.sub(MASK, masked))


def _parameter(found: re.Match[str]) -> str:
    before, name, _ = found.groups()
    return f"{before}{name}={MASK}" if name.lower() in _IN_URLS or is_sensitive(name) else found[0]


def mask_bytes(data: bytes) -> bytes:
    """`data` with every remembered value replaced by stars, whatever else it holds."""
    if not _by_block:
        return data
    text = data.decode("utf-8", "surrogateescape")
    masked = mask(text)
    return data if masked == text else masked.encode("utf-8", "surrogateescape")
