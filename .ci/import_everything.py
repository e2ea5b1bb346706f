"""
Run where only the core's wheel is installed: import every public module and name, and look for strangers.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

before = set(sys.modules)

import edictum  # noqa: E402

modules = ["edictum"]
for found in pkgutil.walk_packages(edictum.__path__, "edictum."):
    if not any(part.startswith("_") for part in found.name.split(".")):
        importlib.import_module(found.name)
        modules.append(found.name)
missing = [name for name in edictum.__all__ if not hasattr(edictum, name)]
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
# multiprocessing gives the main module a second name.
strangers = sorted(loaded - sys.stdlib_module_names - {"edictum", "__mp_main__"})

templates = [template.name for template in edictum.Edictum.list_templates() if template.cases is not None]

print(f"edictum {edictum.__version__}: {len(modules)} public modules, {len(edictum.__all__)} public names")
if len(templates) < 5:
    sys.exit(f"shipped templates are missing, or their cases; found are {templates}")
if missing or strangers:
    sys.exit(f"names that are not there: {missing}; modules from outside the standard library: {strangers}")
