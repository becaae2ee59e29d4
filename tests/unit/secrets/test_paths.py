"""Whatever an organization's id or a secret's name is, no path leaves the organization's own folder."""

from __future__ import annotations

import urllib.parse

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from bifrost.errors import ValidationError
from bifrost.secrets.base import check_segment
from bifrost.secrets.vault import VaultSecrets
from bifrost.settings import Settings

STORE = VaultSecrets.from_settings(Settings(vault_token="t"))
PIECES = st.sampled_from(["..", ".", "/", "%2e", "%2f", "%252f", "\\", "\0", "\n", "?", "#", ";", "globex", "a", "-", "_", "é", "\u2024", "\uff0f"])
TEXTS = st.one_of(st.text(max_size=30), st.lists(PIECES, max_size=8).map("".join), st.integers(250, 300).map("a".__mul__), st.from_regex(r"[\w.-]{1,30}", fullmatch=True))

FEW = settings(max_examples=80, derandomize=True, deadline=None, database=None)


@FEW
@given(scope=TEXTS, name=TEXTS)
def test_a_path_has_the_segments_that_were_asked_for_or_is_refused(scope: str, name: str) -> None:
    """What HTTP makes of an accepted id and name is exactly mount, prefix, id and name; all else is a `ValidationError`."""
    try:
        place = STORE.place(scope, name)
    except ValidationError:
        return
    url = requests.Request("GET", f"http://vault/v1/{place}").prepare().url
    assert url == f"http://vault/v1/secret/bifrost/{scope}/{name}"
    parsed = urllib.parse.urlsplit(urllib.parse.unquote(url))
    assert parsed.path.split("/") == ["", "v1", "secret", "bifrost", scope, name]
    assert (parsed.query, parsed.fragment) == ("", "")


@FEW
@given(text=TEXTS)
def test_a_segment_is_accepted_only_if_it_is_plain(text: str) -> None:
    """ASCII letters, digits, `_`, `-` and `.`; neither a dot nor a dash first; 1 to 255 of them."""
    plain = text.isascii() and bool(text) and len(text) <= 255 and text[0] not in "-." and all(one.isalnum() or one in "_.-" for one in text)
    if plain:
        assert check_segment("secret name", text) == text
    else:
        with pytest.raises(ValidationError, match="Invalid secret name"):
            check_segment("secret name", text)
