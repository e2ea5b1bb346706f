"""
A few seconds of ``chaos.py``; ``nox -s chaos`` runs minutes of it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PATIENCE_SECONDS = 100  # less than pytest has
_ENDING_SECONDS = 15


@pytest.mark.slow
@pytest.mark.fault
def test_nothing_acknowledged_is_lost_and_nothing_forbidden_runs_whatever_dies() -> None:
    words = ["--minutes", "0.15", "--agents", "2", "--replicas", "1", "--seed", "1"]
    command = [sys.executable, str(Path(__file__).with_name("chaos.py")), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said, _ = process.communicate(timeout=_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()  # it takes down what it started
            said, _ = process.communicate(timeout=_ENDING_SECONDS)
            pytest.fail(f"it does not end: {said}")
    assert process.returncode == 0, said
    assert "0 acknowledged events missing" in said
