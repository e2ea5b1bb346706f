"""
``edictum templates``.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from edictum.cli.inputs import reading
from edictum.cli.terminal import CommandError, say, say_json
from edictum.errors import EdictumConfigError

if TYPE_CHECKING:
    from edictum.template_files import TemplateInfo


def configure(parser: argparse.ArgumentParser) -> None:
    """
    Add the options.
    """
    parser.add_argument("action", nargs="?", choices=("list", "show"), default="list", help="default: list")
    parser.add_argument("name", nargs="?", metavar="NAME", help="template to print")
    parser.add_argument("--cases", action="store_true", help="print its cases for edictum test instead")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    parser.epilog = "Copy one with: edictum templates show file-agent > rules.yaml"


def run(arguments: argparse.Namespace) -> int:
    """
    List the templates, or print one as it is.
    """
    if arguments.action == "show":
        if arguments.name is None:
            raise CommandError("show needs the name of a template; see: edictum templates")
        if arguments.json:
            raise CommandError("--json is for the list; a template is printed as it is")
        _show(arguments.name, cases=arguments.cases)
    elif arguments.name is not None or arguments.cases:
        raise CommandError("list shows all templates and takes no name; to print one: edictum templates show NAME")
    else:
        _list(as_json=arguments.json)
    return 0


def _show(name: str, *, cases: bool) -> None:
    from edictum.template_files import find_template

    try:
        template = find_template(name)
    except EdictumConfigError as error:
        raise CommandError(str(error)) from error
    path = template.cases if cases else template.path
    if path is None:
        raise CommandError(f"template {name} has no cases")
    with reading(str(path)):
        text = path.read_text(encoding="utf-8")
    for line in text.splitlines():
        say(line)


def _list(*, as_json: bool) -> None:
    from edictum.template_files import list_templates

    found = [_described(template) for template in list_templates()]
    if as_json:
        say_json({"templates": found})
        return
    width = max(len(template["name"]) for template in found)
    for template in found:
        say(f"{template['name']:<{width}}  {template['mode']:<7}  {template['description']}")


def _described(template: TemplateInfo) -> dict[str, Any]:
    from edictum.yaml_engine import load_bundle

    try:
        bundle, _ = load_bundle(template.path)
    except EdictumConfigError as error:
        raise CommandError(str(error)) from error
    return {
        "name": template.name,
        "mode": bundle["defaults"]["mode"],
        "description": bundle["metadata"]["description"],
        "path": str(template.path),
    }
