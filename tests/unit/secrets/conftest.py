"""What tests of the connection to Vault share."""

from __future__ import annotations

import uuid

import pytest

from bifrost.dev.vault_server import VaultServer
from tests.certificates import Authority
from tests.vault_api import Api


@pytest.fixture
def api(vault_server: VaultServer) -> Api:
    """The API of the Vault of these tests."""
    return Api(vault_server)


@pytest.fixture
def name() -> str:
    """A name that no other test uses, for a secret or a role."""
    return f"name_{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A certificate authority that ends with the tests."""
    return Authority()


@pytest.fixture(scope="session")
def certificate_authority(authority: Authority) -> str:
    """Its certificate, as PEM."""
    return authority.certificate
