"""run, train, pipeline, ps, logs, why, cancel, retry, metrics: work and how it goes."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sill.cli.client import nothing, stages
from sill.cli.layout import Whole, amount
from sill.cli.options import add
from sill.cli.output import Options, ago, progress, remark, show_json, show_line, show_table, show_text
from sill.cli.spans import span_s
from sill.core.errors import InvalidValue
from sill.runs.types import CodeUpload, LogChunk, Resources, Run, RunSpec, RunState
from sill.sdk.packing import pack_folder

MEBIBYTE = 1024**2
PANEL = "Runs"
SCRIPT = {"allow_extra_args": True, "allow_interspersed_args": False}
"""What stands behind the command's own options belongs to the script, whatever it looks like."""

RunId = Annotated[str, typer.Argument(help="Id of a run, from `sill ps`.", metavar="RUN")]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for its end.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    scripts = (
        "sill run -- python train.py --epochs 3",
        "sill run --workers 2 --timeout 600 -- python train.py",
        "sill run --env EPOCHS=3 --retries 2 --detach -- ./train.sh",
    )
    add(app, run, *scripts, panel=PANEL, context=SCRIPT, usage="[OPTIONS] -- COMMAND [ARGUMENTS]")
    add(app, train, "sill -p shop train", "sill -p shop train churn", panel=PANEL)
    add(app, pipeline, "sill -p shop pipeline", "sill -p shop pipeline nightly", panel=PANEL)
    add(app, ps, "sill ps", "sill ps --state failed --limit 5", panel=PANEL)
    add(app, logs, "sill logs RUN", "sill logs RUN --follow", panel=PANEL)
    add(app, why, "sill why RUN", panel=PANEL)
    add(app, cancel, "sill cancel RUN", panel=PANEL)
    add(app, retry, "sill retry RUN", panel=PANEL)
    add(app, metrics, "sill metrics RUN", panel=PANEL)


def run(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="Name of the run; its script's when not given.")] = "",
    experiment: Annotated[str, typer.Option(help="Experiment it belongs to.")] = "default",
    workers: Annotated[
        int, typer.Option(help="Processes started together, with RANK and WORLD_SIZE as torchrun sets them.")
    ] = 1,
    workers_min: Annotated[int, typer.Option(help="With so few it runs too: it may be stopped and started anew.")] = 0,
    workers_max: Annotated[int, typer.Option(help="With so many it runs too: it may be stopped and started anew.")] = 0,
    cpus: Annotated[float, typer.Option(help="CPU cores for each worker.")] = 1.0,
    memory: Annotated[int, typer.Option(help="Memory for each worker in MiB.")] = 512,
    gpus: Annotated[float, typer.Option(help="Accelerators for each worker: whole ones, or a part of one.")] = 0.0,
    gpu_type: Annotated[
        list[str],
        typer.Option(help="Kind of accelerator it can use, such as h200; may be given again, the best first."),
    ] = [],  # noqa: B006
    capability: Annotated[
        list[str], typer.Option(help="What its accelerators must have, such as bf16; may be given again.")
    ] = [],  # noqa: B006
    timeout: Annotated[float, typer.Option(help="Seconds after which it is stopped; 0 for none.")] = 0.0,
    retries: Annotated[int, typer.Option(help="How often a failed attempt is repeated.")] = 0,
    start_by: Annotated[str, typer.Option(help="Wait so long at most for cheaper or cleaner power, such as 24h.")] = "",
    deadline: Annotated[str, typer.Option(help="It should be over by then, such as 8h (policy elastic).")] = "",
    preemptible: Annotated[
        bool,
        typer.Option("--preemptible", help="It may be stopped for others, and goes on later from its checkpoints."),
    ] = False,
    env: Annotated[list[str], typer.Option(help="NAME=VALUE for the script's environment; may be given again.")] = [],  # noqa: B006
    no_code: Annotated[bool, typer.Option("--no-code", help="Do not send this folder along.")] = False,
    detach: Detach = False,
) -> None:
    """Run any script, unchanged: it is queued, metered, and its output and code are kept.

    This folder is sent along as its code, without hidden files, caches, environments, links and files above 4 MiB.
    The exit code is 1 when the run fails.
    """
    if not context.args:
        raise InvalidValue("there is nothing to run.", fix="sill run -- python train.py")
    variables = dict(name_and_value(each, "--env EPOCHS=3") for each in env)
    here = stages()
    spec = RunSpec(
        name=name,
        command=tuple(context.args),
        code="" if no_code else _send_code(here.runs.upload_code),
        experiment=experiment,
        env=variables,
        resources=Resources(
            cpus=cpus,
            memory_bytes=memory * MEBIBYTE,
            accelerators=gpus,
            accelerator_types=tuple(gpu_type),
            capabilities=tuple(capability),
            workers=workers,
            workers_min=workers_min,
            workers_max=workers_max,
        ),
        timeout_s=timeout,
        retries=retries,
        start_by_s=span_s(start_by, "--start-by") if start_by else 0.0,
        deadline_s=span_s(deadline, "--deadline") if deadline else 0.0,
        preemptible=preemptible,
    )
    started(here.runs.submit(spec), detach)


def train(
    name: Annotated[str, typer.Argument(help="Name of a declared training; all are listed when not given.")] = "",
    detach: Detach = False,
) -> None:
    """Start a declared training now, or list those there are."""
    if name:
        start("training", name, detach)
        return
    here = stages()
    found = here.trainings.list()
    rows = [(each.name, each.model, each.data, each.label, each.every) for each in found]
    columns = ("name", "model", "learns from", "predicts", "every")
    show_table(found, "", columns, rows, partial(nothing, here, "training", "declare one in a project file"))


def pipeline(
    name: Annotated[str, typer.Argument(help="Name of a declared pipeline; all are listed when not given.")] = "",
    detach: Detach = False,
) -> None:
    """Start a declared pipeline now, or list those there are."""
    if name:
        start("pipeline", name, detach)
        return
    here = stages()
    found = here.pipelines.list()
    rows = [(each.name, each.every, " ".join(step.name for step in each.steps)) for each in found]
    columns = ("name", "every", "steps")
    empty = partial(nothing, here, "pipeline", "declare one in a project file")
    show_table(found, "", columns, rows, empty, has_prose=True)


def ps(
    state: Annotated[str, typer.Option(help="queued, running, finished, failed or cancelled.")] = "",
    limit: Annotated[int, typer.Option(help="Most runs to show.")] = 20,
) -> None:
    """Runs, the newest first, and why they wait or failed."""
    if state and state not in tuple(RunState):
        raise InvalidValue(f"--state {state!r} is not a state; {', '.join(RunState)} are.", fix="Choose one of them.")
    here = stages()
    page = here.runs.list(state=state, limit=limit)
    rows = [
        (each.id, each.name, each.kind, each.state.value, ago(each.created_us), _took(each), each.reason)
        for each in page.items
    ]
    columns = (Whole("id"), "name", "kind", "state", "age", "took", "why")
    noun = f"run that is {state}" if state else "run"
    show_table(
        page.items, "", columns, rows, partial(nothing, here, noun, "sill run -- python train.py"), has_prose=True
    )
    if page.next:
        remark(f"These are the newest {limit}; --limit asks for more.")


def logs(
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until its end.")] = False,
) -> None:
    """What a run has printed."""
    here = stages()
    pieces = here.runs.follow(run_id) if follow else here.runs.output(run_id)
    if Options.as_json:
        text = "".join(pieces)
        show_json(LogChunk(text=text, next_offset=len(text.encode()), is_end=here.runs.get(run_id).state.is_final))
        return
    for piece in pieces:
        show_text(piece)


def why(run_id: RunId) -> None:
    """Why a run waits, failed or was refused, and what to do."""
    reason = stages().runs.why(run_id)
    show_line(reason, f"{reason.state.value}: {reason.text}")


def cancel(run_id: RunId) -> None:
    """Stop a run, and those it started."""
    stopped = stages().runs.cancel(run_id)
    show_line(stopped, f"{stopped.id} {'is being stopped' if stopped.is_stopping else 'is ' + stopped.state.value}.")


def retry(run_id: RunId, detach: Detach = False) -> None:
    """Run the same again, as a new run."""
    started(stages().runs.retry(run_id), detach)


def metrics(run_id: RunId) -> None:
    """What a run has logged: metrics, params, tags."""
    data = stages().runs.data(run_id)
    kinds = (("metric", data.metrics), ("param", data.params), ("tag", data.tags))
    rows = [(kind, name, value) for kind, values in kinds for name, value in sorted(values.items())]
    show_table(data, "", ("kind", "name", "value"), rows, "it has logged nothing.", has_prose=True)


def start(kind: str, name: str, detach: bool) -> None:
    """Start what was declared, and wait for it unless told not to."""
    started(stages().triggers.start(kind, name), detach)


def started(submitted: Run, detach: bool) -> None:
    """Follow a run to its end, or tell how to."""
    if detach:
        show_line(submitted, f"{submitted.id} {submitted.state.value}: {command(f'logs {submitted.id} --follow')}")
    else:
        wait_for(submitted)


def wait_for(submitted: Run) -> None:
    """Show a run's output until it ends, and why it waits; leave with exit code 1 if it did not finish."""
    here = stages()
    said = ""
    is_waiting = True

    def say_why() -> None:
        nonlocal said, is_waiting
        if not is_waiting:
            return
        reason = here.runs.why(submitted.id)
        is_waiting = reason.state is RunState.QUEUED
        if is_waiting and reason.text != said:
            said = reason.text
            remark(f"it waits: {said}")

    remark(f"{submitted.id} {submitted.state.value}")
    try:
        for piece in here.runs.follow(submitted.id, on_quiet=say_why):
            if not Options.as_json:
                show_text(piece)
    except KeyboardInterrupt:
        follow, stop = command(f"logs {submitted.id} --follow"), command(f"cancel {submitted.id}")
        remark(f"\n{submitted.id} goes on. Follow it: {follow}. Stop it: {stop}.")
        raise
    ended = here.runs.get(submitted.id)
    if Options.as_json:
        show_json(ended)
    else:
        remark(_in_sum(ended), style="dim" if ended.state is RunState.FINISHED else "red")
    if ended.state is not RunState.FINISHED:
        raise typer.Exit(1)


def command(rest: str) -> str:
    """A command line for the project that was chosen."""
    return f"sill -p {Options.project} {rest}" if Options.project else f"sill {rest}"


def name_and_value(text: str, example: str) -> tuple[str, str]:
    """The two halves of `NAME=VALUE`.

    Args:
        example: an option rightly given, for the message.
    """
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise InvalidValue(f"{example.split()[0]} {text!r} is not NAME=VALUE.", fix=example)
    return name, value


def _send_code(upload: Callable[[bytes], CodeUpload]) -> str:
    with progress("packing this folder") as advance:
        packed = pack_folder(Path.cwd())
        advance(now=f"sending {packed.files} files, {len(packed.archive) / MEBIBYTE:.1f} MiB")
        digest = upload(packed.archive).digest
    if packed.remark:
        remark(packed.remark)
    return digest


def _in_sum(run: Run) -> str:
    used = [f"{amount(run.usage.wall_s)} s", f"{amount(run.usage.cpu_s)} CPU s"]
    if run.cost:
        cost = run.cost
        used += [f"{amount(cost.usd)} USD", f"{amount(cost.energy_wh)} Wh", f"{amount(cost.carbon_g)} gCO2e"]
    reason = f": {run.reason}" if run.reason else ""
    return f"{run.id} {run.state.value}{reason} ({', '.join(used)})"


def _took(run: Run) -> str:
    if run.state is RunState.RUNNING:
        return f"{time.time() - run.started_us / 1e6:.0f} s"
    return f"{run.usage.wall_s:.1f} s" if run.started_us else ""
