"""
Writing logs and reading them back, also from other processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import edictum.audit
from edictum.audit import AuditEvent, AuditSink
from edictum.file_sink import rotated_files

SOURCE = Path(edictum.audit.__file__).parents[1]


def emit(sink: AuditSink, *events: AuditEvent) -> None:
    async def main() -> None:
        for event in events:
            await sink.emit(event)

    asyncio.run(main())


def numbered(*numbers: int) -> list[AuditEvent]:
    return [AuditEvent(call_index=number) for number in numbers]


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]


def parts(path: Path) -> list[Path]:
    """
    The files of a log, the oldest first.
    """
    return [Path(name) for name in rotated_files(str(path))] + [path]


def run_script(script: str, *args: object, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path])}
    command = [sys.executable, "-c", script, *map(str, args)]
    return subprocess.Popen(command, env=environment, text=True, **options)
