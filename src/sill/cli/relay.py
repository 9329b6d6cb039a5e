"""relay, spool: logging that outlives an outage of the server."""

import json
import os
import signal
import subprocess
import sys
from enum import StrEnum
from typing import Annotated

import typer

from sill.cli.client import client
from sill.cli.options import add
from sill.cli.output import Options, progress, remark, show_json, show_table, size
from sill.core.errors import Conflict, Unavailable
from sill.core.settings import read_settings
from sill.safety.tokens import read_or_create_root_token
from sill.sdk.spool import SpoolState, flush, look, retry, spools

PANEL = "Runs"
SCRIPT = {"allow_extra_args": True, "allow_interspersed_args": False}
PORT_AFTER = 3
"""The relay's port is this much behind the first of the platform's three."""
DRAIN_S = 10.0
FLUSH_S = 3_600.0
TOKEN_FILE = "relay-token"  # noqa: S105  # the name of a file


class Action(StrEnum):
    """What to do with the spools."""

    SHOW = "show"
    FLUSH = "flush"
    RETRY = "retry"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    add(app, relay, "sill relay", "sill relay -- python train.py", panel=PANEL, context=SCRIPT, is_about_project=False)
    add(app, spool, "sill spool", "sill spool flush", panel=PANEL, is_about_project=False)


def relay(
    context: typer.Context,
    port: Annotated[int, typer.Option(help="Port of the relay; 0 for SILL_PORT + 3.")] = 0,
) -> None:
    """Stand between MLflow's clients and the server, so that what they log outlives an outage.

    `sill run` does so by itself. With a command, it is run against the relay, which ends with it; without one the relay
    serves until Ctrl-C, and what to set for clients is printed. Then what is left is sent for ten seconds; what still
    waits after that stays on disk for `sill spool flush`.
    """
    here, settings = client(), read_settings()
    secret = read_or_create_root_token(settings.home / TOKEN_FILE)
    order = {
        "url": here.url,
        "token": here.authorization["Authorization"].removeprefix("Bearer "),
        "name": f"relay-{os.getpid()}" if context.args else "relay",
        "secret": secret,
        "port": 0 if context.args else port or settings.port + PORT_AFTER,
        "bytes_max": settings.spool_bytes_max,
        "drain_s": DRAIN_S,
        "tells_address": True,
    }
    folder = settings.home / "spool"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [sys.executable, "-I", "-m", "sill.relay", str(folder)]
    # A session of its own for a command's relay: Ctrl-C is the command's, the relay ends after it.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=bool(context.args)
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(order).encode())
    process.stdin.close()
    url = process.stdout.readline().decode().strip()
    if not url:
        process.wait()
        raise Unavailable("the relay did not start.", fix="Is another one running? Choose another --port.")
    variables = {"MLFLOW_TRACKING_URI": url, "MLFLOW_TRACKING_TOKEN": secret}
    code = _run(context.args, variables) if context.args else _serve(variables, process)
    process.send_signal(signal.SIGTERM) if process.poll() is None else None
    if process.wait() != 0:
        remark("not all that was logged could be sent: `sill spool` shows what waits.", style="red")
        code = code or 1
    if code:
        raise typer.Exit(code)


def spool(
    action: Annotated[
        Action,
        typer.Argument(help="show: list them; flush: send what waits; retry: send again what the server refused."),
    ] = Action.SHOW,
) -> None:
    """What was logged on this machine and has not arrived at the server. The exit code is 1 if something is left."""
    home = read_settings().home
    if action is not Action.SHOW:
        _send(action)
    states = [look(folder) for folder in spools(home)]
    left = [state for state in states if state.waiting or state.refused or state.damaged]
    rows = [
        (
            state.folder,
            state.url,
            "open" if state.waiting < 0 else state.waiting,
            size(state.size_bytes),
            state.refused,
            state.damaged,
        )
        for state in left
    ]
    columns = ("spool", "goes to", "waiting", "size", "refused", "damaged")
    if Options.as_json:
        show_json(left)
    else:
        show_table(left, "", columns, rows, "everything that was logged here has arrived.")
    if any(_is_stuck(state) for state in left):
        raise typer.Exit(1)


def _send(action: Action) -> None:
    here = client()
    for folder in spools(read_settings().home):
        try:
            if action is Action.RETRY:
                retry(folder, here)
            with progress(f"sending what waits in {folder}") as advance:
                flush(folder, here, FLUSH_S, lambda left: advance(now=f"{left:,} requests are left"))
        except Conflict:
            remark(f"{folder} is being sent by the process that writes it.")


def _is_stuck(state: SpoolState) -> bool:
    return state.waiting > 0 or state.refused > 0 or state.damaged > 0


def _run(command: list[str], variables: dict[str, str]) -> int:
    """Run a command against the relay; its exit code."""
    try:
        return subprocess.run(command, env={**os.environ, **variables}, check=False).returncode
    except KeyboardInterrupt:
        return 130


def _serve(variables: dict[str, str], process: "subprocess.Popen[bytes]") -> int:
    """Tell what to set, and wait for the end of the relay."""
    try:
        if Options.as_json:
            show_json(variables)
        else:
            for name, value in variables.items():
                typer.echo(f"export {name}={value}")
            remark("Ctrl-C ends it.")
        process.wait()
    except KeyboardInterrupt:
        remark("sending what is left")
    return 0
