"""Data keys and envelopes: what is asked of the key service, and what is no longer readable."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from temporalio.api.common.v1 import Payload

from bifrost.errors import ConfigurationError, IntegrationError, NotFoundError
from bifrost.messages import NotNow
from bifrost.temporal.payloads import encryption
from bifrost.temporal.payloads import store as payloads
from bifrost.temporal.payloads.converter import CONVERTER, data_converter
from bifrost.temporal.payloads.encryption import DataKeys, Envelopes, owned_by


class Keys:
    """A key service in memory, with a clock beside it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.away = False
        self.gone: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self._numbers = itertools.count(1)

    async def new(self, name: str) -> tuple[bytes, str]:
        self._ask("new", name)
        number = next(self._numbers)
        await asyncio.sleep(0)  # as long as it takes for others to ask the same
        return bytes([number]) * 32, f"wrapped:{number}"

    async def unwrap(self, name: str, wrapped: str) -> bytes:
        self._ask("unwrap", name)
        if name in self.gone:
            raise NotFoundError("gone", kind="encryption key", name=name)
        return bytes([int(wrapped.removeprefix("wrapped:"))]) * 32

    def _ask(self, what: str, name: str) -> None:
        self.asked.append((what, name))
        if self.away:
            raise IntegrationError("away", integration="vault")


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def envelopes(keys: Keys) -> Envelopes:
    return _of(keys)


def _of(keys: Keys) -> Envelopes:
    """As another process would have them."""
    return Envelopes(DataKeys(lambda: keys, clock=lambda: keys.now, patience=0.15))


PAYLOAD = CONVERTER.to_payload({"a": "canary-of-a-payload"})


async def test_a_data_key_is_fetched_once_and_rotated(keys: Keys, envelopes: Envelopes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask at once, one key is made for an organization; a new one after its time, or its uses."""
    sealed = await asyncio.gather(*(envelopes.seal(PAYLOAD, "acme") for _ in range(5)))
    assert keys.asked == [("new", "bifrost-acme")]
    assert len({payload.data for payload in sealed}) == 5
    keys.now += encryption.FRESH
    await envelopes.seal(PAYLOAD, "acme")
    monkeypatch.setattr(encryption, "USES", 1)
    later = await envelopes.seal(PAYLOAD, "acme")
    assert keys.asked == [("new", "bifrost-acme")] * 3
    assert [await envelopes.unseal(payload) for payload in (*sealed, later)] == [PAYLOAD] * 6
    assert keys.asked[3:] == [("unwrap", "bifrost-acme")]  # the first one, which was no longer fresh


@pytest.mark.parametrize(("org_id", "name"), [("acme", "bifrost-acme"), ("a.b-c_1", "bifrost-a.b-c_1"), ("acme-", "bifrost-GLOBAL"), ("../x", "bifrost-GLOBAL")])
async def test_each_organization_has_a_key(envelopes: Envelopes, org_id: str, name: str) -> None:
    """What cannot be a name of Vault's is no reason for a run to hang: GLOBAL's key does."""
    assert (await envelopes.seal(PAYLOAD, org_id)).metadata["encryption-key-id"].decode() == name


async def test_keys_that_are_known_do_while_vault_is_away(keys: Keys, envelopes: Envelopes) -> None:
    """For an hour; also a key that was only read with writes then. Another process waits, and its error is worth another attempt."""
    sealed = await envelopes.seal(PAYLOAD, "acme")
    reader = _of(keys)
    await reader.unseal(sealed)
    keys.away = True
    assert (await reader.seal(PAYLOAD, "acme")).metadata["encryption-data-key"] == sealed.metadata["encryption-data-key"]
    keys.now += encryption.STALE - 1
    assert await envelopes.unseal(await envelopes.seal(PAYLOAD, "acme")) == PAYLOAD
    keys.now += 2
    for work in (envelopes.unseal(sealed), envelopes.seal(PAYLOAD, "acme"), _of(keys).unseal(sealed)):
        with pytest.raises(IntegrationError, match="away"):
            await work
    with pytest.raises(IntegrationError) as refusal:
        await _of(keys).unseal(sealed)
    assert NotNow.model_validate(refusal.value.details[NotNow.KEY]).give_up_seconds == encryption.GIVE_UP
    waiting = asyncio.create_task(_of(keys).unseal(sealed))
    await asyncio.sleep(0)
    keys.away = False
    assert await waiting == PAYLOAD


async def test_a_deleted_key_opens_nothing(keys: Keys, envelopes: Envelopes) -> None:
    """When what is known is no longer fresh, and then also while Vault is away."""
    acme, globex = await envelopes.seal(PAYLOAD, "acme"), await envelopes.seal(PAYLOAD, "globex")
    keys.gone.add("bifrost-acme")
    assert await envelopes.unseal(acme) == PAYLOAD
    keys.now += encryption.FRESH
    with pytest.raises(NotFoundError, match="gone"):
        await envelopes.unseal(acme)
    assert await envelopes.unseal(globex) == PAYLOAD
    keys.away = True
    with pytest.raises(IntegrationError, match="away"):
        await envelopes.unseal(acme)


async def test_keys_in_memory_are_bounded(keys: Keys, envelopes: Envelopes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were not used for longest make room, and are asked for again."""
    monkeypatch.setattr(encryption, "KEPT", 2)
    sealed = [await envelopes.seal(PAYLOAD, org_id) for org_id in ("acme", "globex", "initech")]
    assert [await envelopes.unseal(payload) for payload in sealed] == [PAYLOAD] * 3
    await envelopes.seal(PAYLOAD, "initech")
    assert ("unwrap", "bifrost-acme") in keys.asked
    assert len(envelopes._keys._known) == 2


@pytest.mark.parametrize("field", ["encryption-key-id", "encryption-data-key", "data", "encryption-version"])
async def test_what_was_changed_is_refused(envelopes: Envelopes, field: str) -> None:
    """The metadata is authenticated with the content: no payload passes for another organization's."""
    sealed, other = await envelopes.seal(PAYLOAD, "acme"), await envelopes.seal(PAYLOAD, "globex")
    if field == "data":
        sealed.data = other.data
    else:
        sealed.metadata[field] = b"2" if field == "encryption-version" else other.metadata[field]
    with pytest.raises(ConfigurationError, match=r"damaged|does not know"):
        await envelopes.unseal(sealed)


async def test_large_payloads_are_the_same_file_on_replay(envelopes: Envelopes) -> None:
    """What is stored outside is encrypted alike each time, so that a replay adds no file; anything small never is."""
    large = CONVERTER.to_payload("x" * 300_000)
    marked = payloads.to_store(PAYLOAD)
    for payload, alike in ((large, True), (marked, True), (PAYLOAD, False)):
        once, again = await envelopes.seal(payload, "acme"), await envelopes.seal(payload, "acme")
        assert (once.data == again.data) is alike
        assert (payloads.TO_STORE in once.metadata) is (payload is marked)
    assert await envelopes.unseal(await envelopes.seal(marked, "acme")) == PAYLOAD
    assert await envelopes.unseal(await envelopes.seal(large, "acme")) == large


async def test_the_owner_of_what_is_sent_is_known(keys: Keys) -> None:
    """Inside `owned_by` it is that organization; what nobody owns is GLOBAL's. What is encrypted already stays as it is."""
    converter = data_converter(None, _of(keys), encrypting=True)
    with owned_by("acme"):
        [owned] = await converter.encode(["text"])
    [unowned] = await converter.encode([b"bytes"])
    assert [one.metadata["encryption-key-id"] for one in (owned, unowned)] == [b"bifrost-acme", b"bifrost-GLOBAL"]
    assert await converter.decode([owned, unowned, Payload(metadata={"encoding": b"json/plain"}, data=b'"old"')]) == ["text", b"bytes", "old"]
    assert await converter.payload_codec.encode([owned]) == [owned]
    with pytest.raises(ConfigurationError, match="given no Vault"):
        await data_converter(None).decode([owned])
