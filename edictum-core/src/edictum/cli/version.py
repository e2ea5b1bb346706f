"""
``edictum version``.
"""

from __future__ import annotations

import argparse
import platform
import sys

from edictum import __version__
from edictum.cli.terminal import say, say_json


def configure(parser: argparse.ArgumentParser) -> None:
    """
    Add the options.
    """
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """
    Show the version of the package and what it runs on.
    """
    facts = {
        "name": "edictum-core",
        "version": __version__,
        "runtime": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{sys.platform} {platform.machine()}".strip(),
    }
    if getattr(arguments, "json", False):
        say_json(facts)
    else:
        say("{name} {version} ({runtime}, {platform})".format(**facts))
    return 0
