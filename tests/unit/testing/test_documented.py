"""The workspace's README: its workflow, and the tests of it that it shows, in a pytest process of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[3] / "workspace" / "README.md"


def test_the_documented_tests_pass(tmp_path):
    """Each block of Python under "A test" passes against the workflow under "A workflow", as it stands there."""
    blocks = {section.partition("\n")[0]: re.findall(r"```python\n(.*?)```", section, re.DOTALL)
              for section in README.read_text().split("\n## ")}
    [workflow], tests = blocks["A workflow"], blocks["A test"]
    folder = tmp_path / "workspace" / "workflows" / "onboarding" / "welcome"
    (folder / "tests").mkdir(parents=True)
    (folder / "workflow.py").write_text(workflow)
    (folder / "tests" / "test_workflow.py").write_text("\n\n".join(tests))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n")
    ended = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=tmp_path, capture_output=True, text=True,
                           timeout=100, check=False)
    assert ended.returncode == 0, ended.stdout
    assert f"{sum(block.count('async def test_') for block in tests)} passed" in ended.stdout
