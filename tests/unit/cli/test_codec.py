"""`bifrost codec`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import uvicorn
from click.testing import CliRunner

from bifrost.cli.codec import codec
from bifrost.errors import ConfigurationError


def test_the_server_listens_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine alone unless told otherwise; nothing is asked of Vault before somebody asks."""
    served: list[dict[str, Any]] = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **how: served.append(how))
    monkeypatch.setattr("bifrost.logging.configure", lambda settings: None)
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-of-some-length *\n")
    assert CliRunner().invoke(codec, ["--tokens", str(tokens), "--origin", "http://ui.example"], catch_exceptions=False).exit_code == 0
    assert (served[0]["host"], served[0]["port"], served[0]["access_log"]) == ("127.0.0.1", 8234, False)
    tokens.write_text("short *\n")
    with pytest.raises(ConfigurationError, match="at least 16 characters"):
        CliRunner().invoke(codec, ["--tokens", str(tokens)], catch_exceptions=False)
