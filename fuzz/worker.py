"""
Fuzzes one target: ``python fuzz/worker.py TARGET [arguments of libFuzzer]``.

The process ends with the first finding or when its time is up; ``run.py`` starts it and reads what it wrote.
"""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module
from pathlib import Path

import atheris


def import_instrumented(packages: list[str]) -> None:
    """
    Import what is fuzzed, so that the fuzzer sees which code of some packages runs.

    That is everything, because some modules are otherwise imported late, inside of a function.
    """
    with atheris.instrument_imports(include=packages):
        import_module("ruamel.yaml")
        edictum = import_module("edictum")
        for module in pkgutil.walk_packages(edictum.__path__, "edictum."):
            if not module.name.endswith("__main__"):
                import_module(module.name)


def main() -> None:
    """
    Fuzz until the time is up or something is found.
    """
    name, *arguments = sys.argv[1:]
    import_instrumented(["edictum", "ruamel"] if name == "yaml_parsers" else ["edictum"])
    sys.path.append(str(Path(__file__).parents[1] / "edictum-core" / "tests"))
    target = import_module(f"targets.{name}").target
    atheris.Setup([sys.argv[0], *arguments], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
