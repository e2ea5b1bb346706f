"""
What fuzzing starts from: texts that the repository already holds, and the fixtures where they are at hand.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = ROOT / "edictum-core" / "src" / "edictum"
TESTS = ROOT / "edictum-core" / "tests"

_LONGEST_WORD = 32  # libFuzzer takes up to 64 bytes
_CODE_BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def texts_in(*files: Path) -> list[str]:
    """
    Every text that Python files hold as a constant, docstrings included.

    Args:
        *files: The files; a folder stands for all Python files below it.
    """
    found: dict[str, None] = {}
    for file in files:
        for source in sorted(file.rglob("*.py")) if file.is_dir() else [file]:
            tree = ast.parse(source.read_text(encoding="utf-8"))
            found |= {
                node.value: None
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value
            }
    return list(found)


def words_in(*files: Path) -> list[str]:
    """
    The short texts of Python files, for a dictionary.
    """
    return [text for text in texts_in(*files) if len(text.encode("utf-8", "replace")) <= _LONGEST_WORD]


def documents() -> Iterator[str]:
    """
    The rulesets of documentation, examples and fixtures.

    The fixtures are looked for where the environment variable ``EDICTUM_SCHEMAS_DIR`` points.
    """
    for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("*/README.md"))]:
        yield from _CODE_BLOCK.findall(page.read_text(encoding="utf-8"))
    folders = [ROOT / "examples"]
    if os.environ.get("EDICTUM_SCHEMAS_DIR"):
        folders.append(Path(os.environ["EDICTUM_SCHEMAS_DIR"]))
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.suffix in (".yaml", ".yml", ".json"):
                yield file.read_text(encoding="utf-8")


def dictionary(words: Iterable[str]) -> str:
    """
    Words in the format of libFuzzer's dictionaries.
    """
    encoded = {word.encode("utf-8", "surrogateescape") for word in words if word}
    quoted = ("".join(map(r"\x{:02x}".format, word)) for word in sorted(encoded))
    return "".join(f'"{word}"\n' for word in quoted)
