"""The redaction net: what it finds, what it leaves alone, and what it costs."""

from __future__ import annotations

import base64
import json
import time
import urllib.parse
import uuid

import pytest

from bifrost import redaction
from bifrost.redaction import MASK, mask, mask_bytes, remember, scrub

VALUES = ["simple-value-1", 'quote" and \\ backslash', "it's a 'quoted' one", "line one\nline two\ttab", "päßwörd-ключ-鍵",
          "a/b+c=d&e f?g", "sechs6", "\ud800 lone surrogate"]
SPELLINGS = {
    "as it is": lambda value: value,
    "in JSON": lambda value: json.dumps(value)[1:-1],
    "in JSON with letters of all kinds": lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    "in Python": lambda value: repr(value)[1:-1],
    "in a URL": lambda value: urllib.parse.quote(value, safe="", errors="surrogatepass"),
    "in a URL's path": lambda value: urllib.parse.quote(value, errors="surrogatepass"),
    "in a form": lambda value: urllib.parse.quote_plus(value, errors="surrogatepass"),
    "in hexadecimal": lambda value: value.encode(errors="surrogatepass").hex(),
    "in capital hexadecimal": lambda value: value.encode(errors="surrogatepass").hex().upper(),
    "in base64": lambda value: base64.b64encode(value.encode(errors="surrogatepass")).decode(),
    "in base64 without padding": lambda value: base64.b64encode(value.encode(errors="surrogatepass")).decode().rstrip("="),
    "in base64 for URLs": lambda value: base64.urlsafe_b64encode(value.encode(errors="surrogatepass")).decode(),
}


@pytest.fixture(autouse=True)
def _remembered() -> None:
    for value in VALUES:
        remember(value)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("before", ["", "x", "xy", "xyz"])
def test_a_remembered_value_is_masked_however_it_is_spelled(value: str, spelling: str, before: str) -> None:
    """Every spelling is found at every place of a text, and nothing else of the text changes."""
    assert mask(f"{before}{SPELLINGS[spelling](value)}") == f"{before}{MASK}"
    assert mask(f"{before}{SPELLINGS[spelling](value)}.{SPELLINGS[spelling](value)}!") == f"{before}{MASK}.{MASK}!"


@pytest.mark.parametrize("user", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("after", ["", "z", "zz"])
def test_a_value_within_a_longer_base64_text_is_masked(user: str, after: str) -> None:
    """As in `Authorization: Basic`: wherever the value stands in what was encoded, nobody can decode it again."""
    value = "correct horse battery staple"
    remember(value)
    masked = mask(base64.b64encode(f"{user}:{value}{after}".encode()).decode())
    assert MASK in masked
    assert len(masked) - len(MASK) <= 12


def test_other_text_is_left_as_it_is() -> None:
    """Text without a remembered value is answered unchanged; a part of a value is no value."""
    for text in ("", "short", "simple-value-", "imple-value-1", "nothing to hide " * 100):
        assert mask(text) is text or mask(text) == text


def test_a_private_key_is_masked_line_by_line() -> None:
    """Whoever logs a file line by line logs no part of a key; its first and last line tell nothing, and stay."""
    lines = [base64.b64encode(f"{number:048}".encode()).decode() for number in range(3)]
    key = "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "end", "-----END PRIVATE KEY-----"])
    remember(key)
    assert mask(f"<{key}>") == mask(f"<{json.dumps(key)[1:-1]}>") == f"<{MASK}>"
    shown = "\r\n".join(key.splitlines())
    assert mask(shown) == f"-----BEGIN PRIVATE KEY-----\r\n{MASK}\r\n{MASK}\r\n{MASK}\r\nend\r\n-----END PRIVATE KEY-----"


def test_what_was_not_read_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: a value that rotation has replaced makes room; one that is read again and again stays."""
    monkeypatch.setattr(redaction, "_by_block", {})
    monkeypatch.setattr(redaction, "_values", {})
    monkeypatch.setattr(redaction, "MAX_VALUES", 2)
    remember("value one, and more")
    remember("value two, and more")
    alone = {block: list(known) for block, known in redaction._by_block.items()}
    remember("value one, and more")
    remember("value three")
    assert mask("value one, and more; value two, and more; value three") == f"{MASK}; value two, and more; {MASK}"
    remember("value two, and more")
    remember("value one, and more")
    assert {block: sorted(known) for block, known in redaction._by_block.items()} == {
        block: sorted(known) for block, known in alone.items()}


@pytest.mark.parametrize(("said", "shown"), [
    ("GET https://ada:pa@ss@host/x?a=1&access_token=abc&b=2#c failed", "GET https://********@host/x?a=1&access_token=********&b=2#c failed"),
    ('{"url": "postgres://u:p@h/db?sslkey=k"}', '{"url": "postgres://********@h/db?sslkey=k"}'), ("https://h/?sig=a%2Fb&se=2030", "https://h/?sig=********&se=2030"),
    ("https://h/a@b?monkey=1", "https://h/a@b?monkey=1"), ("is it a?token=1", "is it a?token=1"), ("https://h/?simple-value-1", "https://h/?********")])
def test_what_gives_access_in_a_url_is_not_said(said: str, shown: str) -> None:
    """User and password, and parameters with telling names, also where nobody remembered them; the rest of the URL stays."""
    assert scrub(said) == shown


def test_short_values_are_not_masked() -> None:
    """Values of fewer than six characters would hit unrelated text."""
    remember("abcde")
    assert mask("abcdefgh") == "abcdefgh"


def test_the_longest_of_several_values_is_masked() -> None:
    """Where one value begins with another, nothing of the longer one remains."""
    remember("prefix-of-a-value")
    remember("prefix-of-a-value-that-is-longer")
    assert mask("<prefix-of-a-value-that-is-longer>") == f"<{MASK}>"


def test_overlapping_values_are_masked() -> None:
    """Where two values overlap, the first is masked; what remains of the second is no longer the value."""
    remember("overlap-left-middle")
    remember("middle-right-overlap")
    assert mask("overlap-left-middle-right-overlap") == f"{MASK}-right-overlap"


@pytest.mark.parametrize("around", [b"", b"\xff\xfe\x00", "ä".encode()])
def test_bytes_are_masked_whatever_else_they_hold(around: bytes) -> None:
    """Payloads need not be text."""
    assert mask_bytes(around + b"simple-value-1" + around) == around + MASK.encode() + around
    assert mask_bytes(around) is around


def test_without_values_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that read no secret pays nothing."""
    monkeypatch.setattr(redaction, "_by_block", {})
    text, data = "simple-value-1", b"simple-value-1"
    assert mask(text) is text
    assert mask_bytes(data) is data


def test_thousands_of_values_cost_no_more_than_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that serves thousands of organizations still masks a megabyte in a fraction of a second."""
    monkeypatch.setattr(redaction, "_by_block", {})
    monkeypatch.setattr(redaction, "_values", {})
    began = time.monotonic()
    for _ in range(5_000):
        remember(uuid.uuid4().hex)
    text = "".join(uuid.uuid4().hex for _ in range(30_000))
    assert mask(text) == text
    assert time.monotonic() - began < 10
