"""The reference of the command line, made from the commands themselves."""

import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from edgebehave_cli.app import app


def verbs() -> Iterator[tuple[str, Any]]:
    """(words after `edgebehave`, command) of each verb, those of groups included."""
    for name, command in get_command(app).commands.items():
        for inner, verb in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", verb
        if not hasattr(command, "commands"):
            yield name, command


def verb_reference() -> str:
    """A section per verb: what it does, its examples, a table of its arguments and options."""
    return "\n".join(section(name, command) for name, command in verbs())


def section(name: str, command: Any) -> str:
    lines = [f"## edgebehave {name}", "", *paragraphs(command.help), "| argument or option | default | what it is |"]
    lines += ["|---|---|---|"]
    lines += [row(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
    return "\n".join([*lines, ""])


def paragraphs(text: str) -> Iterator[str]:
    """The help as Markdown: a command in bold is code, an example is a block."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        joined = re.sub(r"\s+", " ", paragraph)
        example = re.fullmatch(r"Example: \[bold\]([^[]*)\[/bold\]", joined)
        if example:
            yield f"```sh\n{example[1]}\n```\n"
        else:
            yield re.sub(r"\[bold\](.*?)\[/bold\]", r"`\1`", joined).replace("\\[", "[") + "\n"


def row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names = [parameter.name.upper()]
    else:
        names = [*parameter.opts, *parameter.secondary_opts]
        if parameter.metavar:
            names[0] += f" {parameter.metavar}"
    cells = [", ".join(f"`{name}`" for name in names), default_of(parameter), parameter.help or ""]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def default_of(parameter: Any) -> str:
    """The default as it is written on the command line; empty where there is none."""
    default = parameter.default
    if parameter.required:
        return "must be given"
    if isinstance(default, bool):
        names = parameter.opts if default else parameter.secondary_opts
        return f"`{names[0]}`" if names else "off"
    if default is None or callable(default) or default in ((), []):
        return ""
    return f"`{default}`"
