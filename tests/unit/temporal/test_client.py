"""How a client speaks with Temporal, without a server."""

from __future__ import annotations

import pytest
from temporalio.service import GrpcCompression

from bifrost.temporal.client import _compression


@pytest.mark.parametrize(("address", "compression"), [
    ("127.0.0.1:7233", GrpcCompression.NONE), ("localhost:7233", GrpcCompression.NONE), ("[::1]:7233", GrpcCompression.NONE),
    ("temporal.internal:7233", GrpcCompression.GZIP), ("localhost.example:7233", GrpcCompression.GZIP), ("[fd00::1]:7233", GrpcCompression.GZIP)])
def test_what_stays_on_this_machine_is_not_compressed(address: str, compression: GrpcCompression) -> None:
    """Compressing saves nothing where no network is, and is the SDK's default everywhere else."""
    assert _compression(address) is compression
