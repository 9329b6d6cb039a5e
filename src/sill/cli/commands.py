"""The commands, gathered; options that hold for all; errors turned into exit codes."""

import sys
from typing import Annotated

import typer

from sill import __version__
from sill.cli import access, data, demo, models, platform, runs
from sill.cli.output import Options, fail
from sill.core.errors import SillError

app = typer.Typer(
    name="sill",
    help="The hidden layer under AI: from raw data to a model that watches and retrains itself.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (platform, runs, data, models, access, demo):
    group.register(app)


@app.callback(invoke_without_command=False)
def options(
    project: Annotated[str, typer.Option("--project", "-p", help="Project to work in.", envvar="SILL_PROJECT")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=lambda on: _version(on))
    ] = False,
) -> None:
    """Options that hold for every command. `--json` may also stand at the end of a command."""
    Options.as_json = Options.as_json or as_json
    Options.project = project


def run() -> int:
    """Run the command line and return the exit code: 0 done, 1 the platform failed, 2 the caller can mend it."""
    arguments = sys.argv[1:]
    before_script = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if "--json" in before_script[1:]:
        position = before_script.index("--json")
        arguments = arguments[:position] + arguments[position + 1 :]
        Options.as_json = True
    try:
        result = app(args=arguments, standalone_mode=False)
    except SillError as refused:
        return fail(refused)
    except (typer.Exit, SystemExit) as ended:
        return int(getattr(ended, "exit_code", getattr(ended, "code", 0)) or 0)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as wrong:
        show = getattr(wrong, "show", None)
        if show is None:
            raise
        show()
        return 2
    return int(result or 0)


def _version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"sill {__version__}")
        raise typer.Exit
