"""
``edictum schema``.
"""

from __future__ import annotations

import argparse

from edictum.cli.terminal import say_json


def configure(parser: argparse.ArgumentParser) -> None:
    """
    Describe where the output goes; there are no options.
    """
    parser.epilog = "Save the output and name the file in your editor's YAML settings."


def run(_arguments: argparse.Namespace) -> int:
    """
    Print the JSON Schema of rulesets.
    """
    from edictum.ruleset.schema import ruleset_schema

    say_json(ruleset_schema())
    return 0
