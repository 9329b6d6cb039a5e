"""run, train, ps, logs, why, cancel, retry: work and how it goes."""

from pathlib import Path
from typing import Annotated

import typer

from sill.cli.client import stages
from sill.cli.output import Options, console, errors, progress, show_json, show_line, show_table, when
from sill.core.errors import InvalidValue, NotFound
from sill.runs.types import Resources, Run, RunSpec, RunState
from sill.sdk.applying import pack_code, upload_code

MEBIBYTE = 1024**2
SCRIPT = {"allow_extra_args": True, "ignore_unknown_options": True}


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(context_settings=SCRIPT)(run)
    for command in (train, pipeline, ps, logs, why, cancel, retry, metrics):
        app.command()(command)


def run(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="Name of the run.")] = "",
    experiment: Annotated[str, typer.Option(help="Experiment it belongs to.")] = "default",
    workers: Annotated[
        int, typer.Option(help="Processes started together, with RANK and WORLD_SIZE as torchrun sets them.")
    ] = 1,
    cpus: Annotated[float, typer.Option(help="CPU cores for each worker.")] = 1.0,
    memory: Annotated[int, typer.Option(help="Memory for each worker in MiB.")] = 512,
    gpus: Annotated[float, typer.Option(help="Accelerators for each worker.")] = 0.0,
    timeout: Annotated[float, typer.Option(help="Seconds after which it is stopped; 0 for none.")] = 0.0,
    retries: Annotated[int, typer.Option(help="How often a failed attempt is repeated.")] = 0,
    env: Annotated[list[str], typer.Option(help="NAME=VALUE for the script's environment.")] = [],  # noqa: B006
    no_code: Annotated[bool, typer.Option("--no-code", help="Do not send this folder along.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for its end.")] = False,
) -> None:
    """Run any script, unchanged: sill run -- python train.py. It is queued, metered and its output kept."""
    if not context.args:
        raise InvalidValue("there is nothing to run.", fix="sill run -- python train.py")
    here = stages()
    code = ""
    if not no_code:
        with progress("sending this folder"):
            code = upload_code(here.client, here.client.project, pack_code(Path.cwd()))
    spec = RunSpec(
        name=name or Path(context.args[-1]).name,
        command=tuple(context.args),
        code=code,
        experiment=experiment,
        env=dict(name_and_value(each, "--env EPOCHS=3") for each in env),
        resources=Resources(cpus=cpus, memory_bytes=memory * MEBIBYTE, accelerators=gpus, workers=workers),
        timeout_s=timeout,
        retries=retries,
    )
    submitted = here.runs.submit(spec)
    if detach:
        show_line(submitted, f"{submitted.id} {submitted.state.value}: sill logs {submitted.id} --follow")
    else:
        wait_for(submitted)


def train(
    name: Annotated[str, typer.Argument(help="Name of a declared training.")],
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for its end.")] = False,
) -> None:
    """Start a declared training now."""
    _start("training", name, detach)


def pipeline(
    name: Annotated[str, typer.Argument(help="Name of a declared pipeline.")],
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for its end.")] = False,
) -> None:
    """Start a declared pipeline now."""
    _start("pipeline", name, detach)


def ps(
    state: Annotated[str, typer.Option(help="queued, running, finished, failed or cancelled.")] = "",
    limit: Annotated[int, typer.Option(help="Most runs to show.")] = 20,
) -> None:
    """Runs, the newest first."""
    if state and state not in {each.value for each in RunState}:
        raise InvalidValue(f"--state {state!r} is not a state; {', '.join(RunState)} are.", fix="Choose one of them.")
    found = stages().runs.list(state=state, limit=limit).items
    rows = [
        (
            each.id,
            each.name,
            each.kind,
            each.state.value,
            when(each.created_us),
            f"{each.usage.wall_s:.1f} s",
            each.reason,
        )
        for each in found
    ]
    columns = ("id", "name", "kind", "state", "made", "took", "why")
    show_table(found, "runs", columns, rows, "no run yet: sill run -- python train.py")


def logs(
    run_id: Annotated[str, typer.Argument(help="Run; the newest when left out.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until its end.")] = False,
) -> None:
    """What a run has printed."""
    here = stages()
    asked = run_id or _newest()
    if follow:
        for text in here.runs.follow(asked):
            console.out(text, end="")
        return
    chunk = here.runs.logs(asked)
    if Options.as_json:
        show_json(chunk)
    else:
        console.out(chunk.text, end="")


def why(
    run_id: Annotated[str, typer.Argument(help="Run; the newest when left out.")] = "",
) -> None:
    """Why a run waits, failed or was refused, and what to do."""
    reason = stages().runs.why(run_id or _newest())
    show_line(reason, reason.text)


def cancel(
    run_id: Annotated[str, typer.Argument(help="Run.")],
) -> None:
    """Stop a run, and those it started."""
    run = stages().runs.cancel(run_id)
    show_line(run, f"{run.id} {run.state.value}.")


def retry(
    run_id: Annotated[str, typer.Argument(help="Run.")],
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for its end.")] = False,
) -> None:
    """Run the same again, as a new run."""
    run = stages().runs.retry(run_id)
    if detach:
        show_line(run, f"{run.id} {run.state.value}.")
    else:
        wait_for(run)


def metrics(
    run_id: Annotated[str, typer.Argument(help="Run; the newest when left out.")] = "",
) -> None:
    """What a run has logged: metrics, params, tags."""
    asked = run_id or _newest()
    data = stages().runs.data(asked)
    kinds = (("metric", data.metrics), ("param", data.params), ("tag", data.tags))
    rows = [(kind, name, value) for kind, values in kinds for name, value in sorted(values.items())]
    show_table(data, asked, ("", "name", "value"), rows, "it has logged nothing.")


def wait_for(run: Run) -> Run:
    """Show a run's output until it ends; leave with exit code 1 if it did not finish."""
    here = stages()
    if Options.as_json:
        for _ in here.runs.follow(run.id):
            continue
    else:
        errors.print(f"[dim]{run.id} {run.state.value}[/]")
        for text in here.runs.follow(run.id):
            console.out(text, end="")
    ended = here.runs.get(run.id)
    took = f"{ended.usage.wall_s:.1f} s, {ended.usage.cpu_s:.1f} CPU s"
    price = (
        f", {ended.cost.usd:.6f} USD, {ended.cost.energy_wh:.4f} Wh, {ended.cost.carbon_g:.4f} gCO2e"
        if ended.cost
        else ""
    )
    show_line(ended, f"{ended.id} {ended.state.value}{': ' + ended.reason if ended.reason else ''} ({took}{price})")
    if ended.state is not RunState.FINISHED:
        raise typer.Exit(1)
    return ended


def _newest() -> str:
    """The run a command is about when none is named.

    Raises:
        NotFound: there is no run at all.
    """
    found = stages().runs.list(limit=1).items
    if not found:
        raise NotFound("there is no run yet.", fix="sill run -- python train.py")
    return found[0].id


def _start(kind: str, name: str, detach: bool) -> None:
    run = stages().triggers.start(kind, name)
    if detach:
        show_line(run, f"{run.id} {run.state.value}: sill logs {run.id} --follow")
    else:
        wait_for(run)


def name_and_value(text: str, example: str) -> tuple[str, str]:
    """The two halves of `NAME=VALUE`.

    Args:
        example: an option rightly given, for the message.
    """
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise InvalidValue(f"{example.split()[0]} {text!r} is not NAME=VALUE.", fix=example)
    return name, value
