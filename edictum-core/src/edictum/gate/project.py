"""
Where a call happens: the project's folder and repository, the rules that hold there, the session that counts it.

Everything here is read from files, without running git.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edictum.errors import EdictumConfigError
from edictum.gate.formats import HookCall, Host
from edictum.gate.payload import Unreadable, parse_object
from edictum.session import validate_session_id

RULES_VARIABLE = "EDICTUM_RULES"
SESSION_FILE = ".edictum-session"

_MAX_SESSION_FILE = 65_536
_RULE_FILES = ("rules.yaml", "rules.yml", "rules.json")
_ENDINGS = (".yaml", ".yml", ".json")


def home() -> Path:
    """
    The folder with the user's own rules, the state of sessions and the local decision log.
    """
    return Path(os.path.expanduser("~")) / ".edictum"


def private_folder(name: str) -> Path:
    """
    A folder in :func:`home`, made for this user only where it is missing.
    """
    folder = home() / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True, slots=True)
class Project:
    """
    A folder that an agent works in.

    Attributes:
        folder: Where the agent was started.
        repository: The repository that it belongs to, or None.
    """

    folder: Path
    repository: Path | None

    @classmethod
    def at(cls, folder: str | os.PathLike[str]) -> Project:
        """
        The project of a folder.
        """
        path = Path(os.path.realpath(folder))
        return cls(path, next((place for place in (path, *path.parents) if (place / ".git").exists()), None))

    @property
    def root(self) -> Path:
        """
        The repository, or outside of one the folder itself.
        """
        return self.repository or self.folder

    def upward(self) -> list[Path]:
        """
        The folder and those above it, up to the root of the repository and never beyond: there, others may write.
        """
        above = [self.folder, *self.folder.parents]
        return above[: above.index(self.root) + 1]


def project_of(host: Host, call: HookCall, environ: Mapping[str, str]) -> Project:
    """
    The project of a call.

    Not where the agent stands at the moment, because it may have moved, and other rules could lie there.
    """
    named = environ.get(host.project_variable) if host.project_variable else None
    return Project.at(named or call.project or os.getcwd())


# --- rules --------------------------------------------------------------------------------------


def find_rules(project: Project, given: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """
    The ruleset files that hold: those given, else those of ``EDICTUM_RULES``, else the project's, else the user's.

    Raises:
        EdictumConfigError: There are none.
    """
    if given:
        return list(given)
    named = [path for path in environ.get(RULES_VARIABLE, "").split(os.pathsep) if path]
    if named:
        return named
    for folder in project.upward():
        for name in _RULE_FILES:
            if (folder / ".edictum" / name).exists():
                return [str(folder / ".edictum" / name)]
    own = home() / "rules"
    found = sorted(path for path in own.glob("*") if path.suffix in _ENDINGS and not path.name.startswith("."))
    if not found:
        raise EdictumConfigError(
            f"there are no rules: write {project.root / '.edictum' / _RULE_FILES[0]} or {own / _RULE_FILES[0]}, "
            f"or name a file with --rules or in {RULES_VARIABLE}"
        )
    return [str(path) for path in found]


# --- session ------------------------------------------------------------------------------------


def session_of(project: Project, given: str | None, call: HookCall) -> str:
    """
    The session that counts a call.

    That is the one given, else the host's, else that of ``.edictum-session``, else one for the repository and its
    branch.

    Raises:
        EdictumConfigError: The one given is not valid, or the file cannot be used.
    """
    if given is not None:
        try:
            return validate_session_id(given)
        except ValueError as error:
            raise EdictumConfigError(f"--session-id: {error}") from None
    if call.session_id is not None:
        return _usable(call.session_id)
    for folder in project.upward():
        if (folder / SESSION_FILE).exists():
            return _usable(_read_session_file(folder / SESSION_FILE))
    place = f"{project.root}\0{_branch(project.repository)}"
    return f"repository-{hashlib.sha256(os.fsencode(place)).hexdigest()[:32]}"


def _usable(session_id: str) -> str:
    """
    The id itself or, where storage could not take it, one that stands for it alone.
    """
    try:
        validate_session_id(session_id).encode("utf-8")  # half of a surrogate pair is no text to a database
        return session_id
    except ValueError:
        return f"session-{hashlib.sha256(session_id.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _read_session_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            session_id = parse_object(file.read(_MAX_SESSION_FILE), "it").get("session_id")
    except (OSError, Unreadable) as error:
        raise EdictumConfigError(f"{path} cannot be used: {error}; correct or delete it") from None
    if not isinstance(session_id, str) or not session_id:
        raise EdictumConfigError(f'{path} cannot be used: it needs a "session_id", a text; correct or delete it')
    return session_id


def _branch(repository: Path | None) -> str:
    """
    What is checked out: a branch, or a commit.  Empty when that cannot be told.
    """
    if repository is None:
        return ""
    git = repository / ".git"
    try:
        if git.is_file():  # a worktree or a submodule: the file says where the rest is
            git = repository / git.read_text(encoding="utf-8").partition("gitdir:")[2].strip()
        return (git / "HEAD").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
