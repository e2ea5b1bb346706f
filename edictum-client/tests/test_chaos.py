"""
A few seconds of ``chaos.py``; ``nox -s chaos`` runs minutes of it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PATIENCE_SECONDS = 110


@pytest.mark.slow
@pytest.mark.fault
def test_nothing_acknowledged_is_lost_and_nothing_forbidden_runs_whatever_dies() -> None:
    words = ["--minutes", "0.2", "--agents", "2", "--replicas", "1", "--seed", "1"]
    command = [sys.executable, str(Path(__file__).with_name("chaos.py")), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 acknowledged events missing" in done.stdout
