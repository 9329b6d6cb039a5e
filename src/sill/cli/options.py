"""Adds a command with the options all commands take, so that they may stand wherever a person writes them."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from sill.cli.output import Options

Project = Annotated[
    str, typer.Option("--project", "-p", help="Project to work in; SILL_PROJECT when not given, then `default`.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
_SHARED = inspect.Parameter.KEYWORD_ONLY


def add(
    app: typer.Typer,
    function: Callable[..., Any],
    *examples: str,
    name: str = "",
    panel: str = "",
    is_about_project: bool = True,
    context: dict[str, Any] | None = None,
    usage: str = "[OPTIONS]",
) -> None:
    """Add a command.

    Args:
        examples: shown beneath its help.
        panel: what it is listed under.
        is_about_project: it takes `--project`.
        context: settings of its parser.
        usage: what stands behind its name in the help's first line, before the arguments.
    """
    shared = [inspect.Parameter("as_json", _SHARED, default=False, annotation=AsJson)]
    if is_about_project:
        shared.append(inspect.Parameter("project", _SHARED, default="", annotation=Project))

    @wraps(function)
    def command(*arguments: Any, as_json: bool = False, project: str = "", **options: Any) -> Any:
        choose(as_json, project)
        return function(*arguments, **options)

    signature = inspect.signature(function, eval_str=True)
    parameters = [*signature.parameters.values(), *shared]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    app.command(
        name or function.__name__,
        rich_help_panel=panel or None,
        epilog="\n\n".join(["Examples:", *(f"  {each}" for each in examples)]) if examples else None,
        context_settings=context,
        options_metavar=usage,
    )(command)


def choose(as_json: bool, project: str) -> None:
    """Take what was chosen before the command, behind it, or both; behind it wins."""
    Options.as_json = Options.as_json or as_json
    Options.project = project or Options.project
