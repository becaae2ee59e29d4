"""What the tests of the workspace share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bifrost.workspace import finder


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A workspace folder, served to nobody else afterwards."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    yield folder
    finder.uninstall()
