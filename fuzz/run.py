"""
Coverage-guided fuzzing of edictum-core: ``python fuzz/run.py [--target NAME] [--minutes N]``.

Each target runs in a process of its own until its time is up or it finds something: an error that it must not raise,
an answer that differs from its oracle's, a text that takes too long or too much memory.  What was reached is kept in
``.fuzz/NAME/corpus`` and is where the next run goes on.  ``--replay`` runs kept inputs without the fuzzer.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from harvest import ROOT, TESTS, dictionary

TARGETS = ["loader", "yaml_parsers", "expressions", "patterns", "shell", "bash", "hosts", "paths"]

_HERE = Path(__file__).parent
_KEPT = ROOT / ".fuzz"
_MEGABYTES = 2_048
_SHOWN_LINES = 60
_EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)/")


def main() -> int:
    """
    Run the targets that were asked for, or all, and say how far each got.

    Returns:
        0 if nothing was found.
    """
    parser = argparse.ArgumentParser(description="Fuzz edictum-core.")
    parser.add_argument("--target", choices=TARGETS, help="this one only")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long each target runs (default: 1)")
    parser.add_argument(
        "--replay", type=Path, nargs="+", metavar="PATH", help="inputs, or folders of them, to run once"
    )
    options = parser.parse_args()
    sys.path.append(str(TESTS))
    if options.replay:
        if options.target is None:
            parser.error("--replay needs --target")
        paths = [path.resolve() for path in options.replay]  # a target may change the working directory
        return replay(_load(options.target), paths)
    names = [options.target] if options.target else TARGETS
    return max(fuzz(name, _load(name), options.minutes) for name in names)


def _load(name: str) -> ModuleType:
    return import_module(f"targets.{name}")


def fuzz(name: str, module: ModuleType, minutes: float) -> int:
    """
    Fuzz one target.

    Args:
        name: Its name.
        module: Its module, from which seeds, dictionary and limits are taken.
        minutes: For how long.

    Returns:
        0 if nothing was found.
    """
    folder = _KEPT / name
    corpus, seeds, findings = (folder / part for part in ("corpus", "seeds", "findings"))
    for each in (corpus, seeds, findings):
        each.mkdir(parents=True, exist_ok=True)
    for seed in module.seeds():
        if len(seed) <= module.LONGEST:
            (seeds / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    flags: dict[str, object] = {
        "artifact_prefix": f"{findings}{os.sep}",
        "max_len": module.LONGEST,
        "timeout": module.SECONDS,
        "report_slow_units": module.SECONDS,
        "rss_limit_mb": _MEGABYTES,
        "max_total_time": max(1, round(minutes * 60)),
        "print_final_stats": 1,
    }
    if words := dictionary(module.words()):
        (folder / "words.dict").write_text(words)
        flags["dict"] = folder / "words.dict"
    log = folder / "log.txt"
    command = [sys.executable, str(_HERE / "worker.py"), name, *(f"-{flag}={value}" for flag, value in flags.items())]
    with open(log, "wb") as stream:
        code = subprocess.run([*command, str(corpus), str(seeds)], stdout=stream, stderr=stream, cwd=folder).returncode
    text = log.read_text(encoding="utf-8", errors="replace")
    if code:
        print(*text.splitlines()[-_SHOWN_LINES:], sep="\n")
    executions = _EXECUTIONS.findall(text)[-1:] or ["?"]
    edges, features, kept = (_COVERAGE.findall(text) or [("?", "?", "?")])[-1]
    found = f"FOUND SOMETHING, see {log}" if code else "nothing found"
    print(f"{name}: {executions[0]} executions, {edges} edges, {features} features, {kept} inputs kept; {found}")
    return 1 if code else 0


def replay(module: ModuleType, paths: list[Path]) -> int:
    """
    Run a target on files, or on all files of folders, without instrumentation: the first finding is raised.
    """
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    for file in files:
        print(file, file=sys.stderr)
        module.target(file.read_bytes())
    print(f"{len(files)} inputs, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
