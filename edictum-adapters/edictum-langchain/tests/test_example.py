"""
The example of the repository runs, and finds nothing wrong.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "langchain_agent" / "run.py"


@pytest.mark.skipif(not EXAMPLE.is_file(), reason="the examples are not part of the source distribution")
def test_example_runs_and_every_decision_is_the_expected_one() -> None:
    done = subprocess.run([sys.executable, str(EXAMPLE)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All decisions were the expected ones." in done.stdout
