"""
Templates: rulesets that are found by name, in folders of the user's and among those that are shipped.

A name is only ever compared with the names of files that a folder lists. No path is made from it, so a name cannot
lead out of the folders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from edictum.errors import EdictumConfigError
from edictum.ruleset.problems import quote

TemplateDirs: TypeAlias = Sequence[str | PathLike[str]]

_SHIPPED = Path(__file__).with_name("templates")
_ENDINGS = (".yaml", ".yml", ".json")
_CASES = ".cases"


@dataclass(frozen=True, slots=True)
class TemplateInfo:
    """
    A template.

    Attributes:
        name: What :meth:`Edictum.from_template` calls it: the name of the file without its ending.
        path: The file.
        builtin: Whether it is shipped with edictum.
    """

    name: str
    path: Path
    builtin: bool

    @property
    def cases(self) -> Path | None:
        """
        The file beside it with calls and what is expected of them, for ``edictum test``; None when there is none.
        """
        for ending in _ENDINGS:
            path = self.path.with_name(f"{self.name}{_CASES}{ending}")
            if path.is_file():
                return path
        return None


def list_templates(template_dirs: TemplateDirs | None = None) -> list[TemplateInfo]:
    """
    All templates in the order in which names are looked up; of several with one name only the first counts.

    Args:
        template_dirs: Folders that are searched before the shipped templates, the first one first.

    Raises:
        EdictumConfigError: ``template_dirs`` is no list of folders, or one of them cannot be read.
    """
    if isinstance(template_dirs, (str, bytes, PathLike)):
        raise EdictumConfigError("template_dirs is a list of folders; put the folder into a list")
    found: dict[str, TemplateInfo] = {}
    for folder in template_dirs or ():
        for name, path in _templates_in(Path(folder)):
            found.setdefault(name, TemplateInfo(name, path, builtin=False))
    for name, path in _templates_in(_SHIPPED):
        found.setdefault(name, TemplateInfo(name, path, builtin=True))
    return list(found.values())


def find_template(name: str, template_dirs: TemplateDirs | None = None) -> TemplateInfo:
    """
    Find a template by name.

    Args:
        name: Its name, without folder and without ending.
        template_dirs: See :func:`list_templates`.

    Raises:
        EdictumConfigError: There is no such template, or a folder cannot be read.
    """
    known = {template.name: template for template in list_templates(template_dirs)}
    template = known.get(name)
    if template is None:
        raise EdictumConfigError(
            f"there is no template {quote(str(name))}; known are {', '.join(sorted(known))}. "
            "A template is called by its name alone; a file is loaded with from_yaml"
        )
    return template


def _templates_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """
    Names and files of a folder, by name; of several endings the first of ``_ENDINGS`` comes first.
    """
    try:
        files = [path for path in folder.iterdir() if path.suffix in _ENDINGS and path.is_file()]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EdictumConfigError(f"templates cannot be read from {str(folder)!a}: {reason}") from error
    for path in sorted(files, key=lambda path: (path.stem, _ENDINGS.index(path.suffix))):
        if not path.stem.startswith(".") and not path.stem.endswith(_CASES):
            yield path.stem, path
