"""
An adapter imports the core and its framework only, and the core imports no adapter.

The framework is what the adapter's pyproject.toml names.  Read from the source, because no environment holds all
frameworks at once.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def imports(folder: Path) -> Iterator[tuple[str, str]]:
    """
    Where something is imported, and the top-level name of what it is.
    """
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            for name in names:
                yield f"{file.relative_to(ROOT)}:{node.lineno}", name.partition(".")[0]


def declared(project: Path) -> set[str]:
    """
    Names of the packages that a distribution says it needs, as they are imported.
    """
    requirements = tomllib.loads(project.read_text("utf-8"))["project"]["dependencies"]
    return {re.split(r"[^\w.-]", each)[0].replace("-", "_") for each in requirements}


wrong = []
adapters = {project.parent: project for project in sorted(ROOT.glob("edictum-adapters/*/pyproject.toml"))}
packages = {path.name for folder in adapters for path in (folder / "src").iterdir() if path.is_dir()}
for folder, project in adapters.items():
    own = {path.name for path in (folder / "src").iterdir()}
    allowed = sys.stdlib_module_names | {"edictum"} | own | declared(project) - {"edictum_core"}
    wrong += [
        f"{place}: {name} is not named in {project.parent.name}/pyproject.toml"
        for place, name in imports(folder / "src")
        if name not in allowed
    ]
core = ROOT / "edictum-core" / "src"
wrong += [f"{place}: the core imports the adapter {name}" for place, name in imports(core) if name in packages]
print(f"imports of {len(adapters)} adapters: {len(wrong)} wrong")
sys.exit("\n".join(wrong) or None)
