"""The codec server where something is missing: a key, Vault, a file, a right."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from bifrost.errors import ConfigurationError, IntegrationError, NotFoundError
from bifrost.temporal.payloads import codec_server
from bifrost.temporal.payloads.codec_server import Access, app
from bifrost.temporal.payloads.converter import CONVERTER, data_converter
from bifrost.temporal.payloads.encryption import DataKeys, Envelopes


class _Keys:
    """A key service of which one key is gone, and one does not answer."""

    async def new(self, name: str) -> tuple[bytes, str]:
        return name.encode().ljust(32), name

    async def unwrap(self, name: str, wrapped: str) -> bytes:
        if name == "bifrost-gone":
            raise NotFoundError("gone", kind="encryption key", name=name)
        if name == "bifrost-away":
            raise IntegrationError("Vault is away", integration="vault")
        return wrapped.encode().ljust(32)


TEXT = CONVERTER.to_payload("text")


def _envelopes() -> Envelopes:
    return Envelopes(DataKeys(_Keys, patience=0))


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    server = app(_envelopes(), {"all": Access(frozenset({"*"})), "acme": Access(frozenset({"acme"}))}, payloads=str(tmp_path))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url="http://codec") as client:
        yield client


async def _ask(http: httpx.AsyncClient, path: str, payloads: Sequence[Payload], token: str = "all") -> httpx.Response:
    return await http.post(path, content=json_format.MessageToJson(Payloads(payloads=payloads)), headers={"Authorization": f"bearer {token}"})


def _payloads(answer: httpx.Response) -> list[Payload]:
    return list(json_format.Parse(answer.content, Payloads()).payloads)


async def test_what_cannot_be_read_is_answered_as_it_came(http: httpx.AsyncClient) -> None:
    """A deleted key is no reason to hide the rest of a history; Vault being away is one to ask again."""
    acme, gone, away = [await _envelopes().seal(TEXT, org_id) for org_id in ("acme", "gone", "away")]
    damaged = Payload(metadata=acme.metadata, data=b"")
    assert _payloads(await _ask(http, "/default/decode", [acme, gone, damaged, TEXT])) == [TEXT, gone, damaged, TEXT]
    answer = await _ask(http, "/decode", [acme, away])
    assert (answer.status_code, answer.json()) == (503, {"error": "Vault is away"})
    assert [payload.metadata["encryption-key-id"] for payload in _payloads(await _ask(http, "/encode", [Payload(data=b"?"), TEXT, acme]))] == [
        b"bifrost-GLOBAL", b"bifrost-GLOBAL", b"bifrost-acme"]


async def test_what_is_stored_in_clear_is_for_those_who_may_read_all(http: httpx.AsyncClient, tmp_path: Path) -> None:
    """Nothing says whose it is, and a reference is easily made."""
    [reference] = await data_converter(str(tmp_path)).encode(["x" * 300_000])
    [opened] = _payloads(await _ask(http, "/decode", [reference]))
    assert len(opened.data) == 300_002
    assert _payloads(await _ask(http, "/decode", [reference], "acme")) == [reference]
    for file in tmp_path.rglob("*.payload"):
        file.unlink()
    assert _payloads(await _ask(http, "/decode", [reference])) == [reference]


def test_tokens_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    """With the file, and why."""
    with pytest.raises(ConfigurationError, match=r"cannot be read from .*nothing"):
        codec_server.read_tokens(tmp_path / "nothing")
