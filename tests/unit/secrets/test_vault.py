"""What the store over Vault shows of itself."""

from __future__ import annotations

from bifrost.secrets.vault import VaultSecrets
from bifrost.settings import Settings


def test_the_token_is_not_shown() -> None:
    """Neither `repr` nor `str` of a store has the token."""
    store = VaultSecrets.from_settings(Settings(vault_token="hvs.hunter2hunter2"))
    assert "hunter2" not in f"{store!r} {store}"


def test_the_prefix_may_be_empty_or_have_slashes_around() -> None:
    """Mount and prefix are joined as paths are."""
    bare = VaultSecrets.from_settings(Settings(vault_token="t", vault_prefix="", vault_mount="/kv/"))
    assert bare.place("acme", "a") == "kv/acme/a"
    deep = VaultSecrets.from_settings(Settings(vault_token="t", vault_prefix="/msp/bifrost/"))
    assert deep.place("acme", "a") == "secret/msp/bifrost/acme/a"
