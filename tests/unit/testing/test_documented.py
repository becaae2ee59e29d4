"""The workspace's README: its workflow, and the tests of it that it shows, in a pytest process of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[3] / "workspace" / "README.md"

OTHERS = """
from workspace.data_providers.groups import get_groups
from workspace.integrations.billing import Billing
from workspace.utils.reports import read_report
from workspace.workflows.nightly.workflow import nightly_report

async def test_the_other_blocks(bifrost_context, tmp_path):
    assert (await bifrost_context.run(nightly_report))["for"] == "None"
    bifrost_context.integration("msgraph").answers("get_groups", [{"displayName": "Team A", "id": "1"}, {"displayName": "Others", "id": "2"}])
    assert await get_groups(bifrost_context, prefix="Team") == [{"label": "Team A", "value": "1"}]
    (tmp_path / "report").write_text("fine")
    assert await read_report(str(tmp_path / "report")) == "fine"
    assert bifrost_context.integration("billing").real is Billing
"""


def test_the_documented_tests_pass(tmp_path):
    """Each block of Python under "A test" passes against the workflow under "A workflow", as it stands there; the other blocks load."""
    blocks = {section.partition("\n")[0]: re.findall(r"```python\n(.*?)```", section, re.DOTALL)
              for section in README.read_text().split("\n## ")}
    [workflow], tests = blocks["A workflow"], blocks["A test"]
    folder = tmp_path / "workspace" / "workflows" / "onboarding" / "welcome"
    (folder / "tests").mkdir(parents=True)
    (folder / "workflow.py").write_text(workflow)
    (folder / "tests" / "test_workflow.py").write_text("\n\n".join(tests))
    for path, [block] in (("integrations/billing.py", blocks["An integration"]), ("utils/reports.py", blocks["An activity"]),
                          ("data_providers/groups.py", blocks["A data provider"]), ("workflows/nightly/workflow.py", blocks["A schedule"])):
        (tmp_path / "workspace" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "workspace" / path).write_text(block)
    (folder / "tests" / "test_others.py").write_text(OTHERS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n")
    ended = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=tmp_path, capture_output=True, text=True,
                           timeout=100, check=False)
    assert ended.returncode == 0, ended.stdout
    assert f"{sum(block.count('async def test_') for block in tests) + 1} passed" in ended.stdout
