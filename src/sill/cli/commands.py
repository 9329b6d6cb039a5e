"""The commands, gathered; errors turned into messages and exit codes."""

import os
import sys
from typing import Annotated

import typer

from sill import __version__
from sill.cli import (
    access,
    data,
    demo,
    experiments,
    models,
    platform,
    queues,
    relay,
    runs,
    simulating,
    transfer,
    webhooks,
)
from sill.cli.client import other_projects, stages
from sill.cli.options import AsJson, Project, choose
from sill.cli.output import Options, fail
from sill.core.errors import InvalidValue, NotFound, SillError

INTERRUPTED = 130
PIPE_CLOSED = 141

app = typer.Typer(
    name="sill",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\n\n".join(
        (
            "Start with `sill up`, then `sill run -- python train.py`, or `sill demo` for the whole loop.",
            "SILL_HOME and SILL_PORT choose the platform on this machine; SILL_URL and SILL_TOKEN one elsewhere.",
            "Exit codes: 0 done; 1 done, and it did not go well (a run failed, a check found a fault); "
            "2 an error, told on standard error; 130 interrupted.",
        )
    ),
)
for group in (platform, runs, queues, simulating, experiments, data, models, access, demo, relay, transfer, webhooks):
    group.register(app)


@app.callback(invoke_without_command=False)
def options(
    project: Project = "",
    as_json: AsJson = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=lambda on: _version(on))
    ] = False,
) -> None:
    """The hidden layer under AI: from raw data to a model that watches and retrains itself."""
    choose(as_json, project)


def run() -> int:
    """Run the command line and return the exit code; see the help's last line."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal may lack a sign; say the rest
    try:
        result = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except typer.Exit as ended:
        return ended.exit_code
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains as it ends
        return PIPE_CLOSED
    except Exception as wrong:
        return tell(wrong)
    return int(result or 0)


def tell(wrong: Exception) -> int:
    """Tell what went wrong and return the exit code. A fault of our own has a traceback only if SILL_LOG_LEVEL is `debug`."""
    if isinstance(wrong, SillError):
        return fail(wrong, _where_else() if isinstance(wrong, NotFound) and "project '" in wrong.message else "")
    if hasattr(wrong, "format_message"):  # a command line that cannot be read
        context = getattr(wrong, "ctx", None)
        Options.as_json = Options.as_json or "--json" in sys.argv  # it may stand behind what could not be read
        help_of = f"{context.command_path} --help" if context else "sill --help"
        message = wrong.format_message()
        return fail(InvalidValue(message if message.endswith((".", "?")) else f"{message}.", fix=f"See `{help_of}`."))
    if isinstance(wrong, OSError):
        place = f"{wrong.filename}: " if wrong.filename else ""
        return fail(InvalidValue(f"{place}{wrong.strerror or wrong}.", fix="Choose a path that can be used."))
    if os.environ.get("SILL_LOG_LEVEL") == "debug":
        raise wrong
    unknown = SillError(
        f"{type(wrong).__name__}: {wrong}.", fix="This is a fault of Sill; SILL_LOG_LEVEL=debug shows where."
    )
    return fail(unknown)


def _where_else() -> str:
    try:
        return other_projects(stages())
    except SillError:
        return ""


def _version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"sill {__version__}")
        raise typer.Exit
