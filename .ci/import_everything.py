"""
Run where only the core's wheel is installed: import every public module and name, and look for strangers.

A package that needs an extra must say which one.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

before = set(sys.modules)

import edictum  # noqa: E402

EXTRAS = {"edictum.testing.strategies": "edictum-core[testing]"}

modules = ["edictum"]
silent = []
# Walking into a package imports it, also one whose extra is missing.
for found in pkgutil.walk_packages(edictum.__path__, "edictum.", onerror=lambda name: None):
    if not any(part.startswith("_") for part in found.name.split(".")):
        modules.append(found.name)
        try:
            importlib.import_module(found.name)
        except ImportError as error:
            if EXTRAS.get(found.name, "?") not in str(error):
                raise
            continue
        if found.name in EXTRAS:
            silent.append(found.name)
missing = [name for name in edictum.__all__ if not hasattr(edictum, name)]
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
# multiprocessing gives the main module a second name.
strangers = sorted(loaded - sys.stdlib_module_names - {"edictum", "__mp_main__"})

try:
    edictum.server.EdictumServerClient  # noqa: B018  looking it up is what needs the client
except edictum.EdictumConfigError as error:
    if "edictum-core[server]" not in str(error):
        raise
else:
    silent.append("edictum.server")

templates = [template.name for template in edictum.Edictum.list_templates() if template.cases is not None]

print(f"edictum {edictum.__version__}: {len(modules)} public modules, {len(edictum.__all__)} public names")
if len(templates) < 5:
    sys.exit(f"shipped templates are missing, or their cases; found are {templates}")
if missing or strangers or silent:
    sys.exit(
        f"names that are not there: {missing}; modules from outside the standard library: {strangers}; "
        f"imported without their extra: {silent}"
    )
