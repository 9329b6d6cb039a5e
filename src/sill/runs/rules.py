"""What may be submitted, and how a run goes from one state to the next. Pure; every step says its reason."""

import math
import re

import msgspec

from sill.core.actors import PLATFORM, Actor
from sill.core.addresses import parse_address
from sill.core.errors import Conflict, Forbidden, InvalidValue, NotFound
from sill.core.names import check_name, shorten
from sill.costs.rules import add_usage
from sill.costs.types import Usage
from sill.engines.types import EngineStatus, Life
from sill.runs.tracking.rules import PARAM_LENGTH_MAX, PARAMS_MAX, TAG_LENGTH_MAX, TAGS_MAX, check_texts
from sill.runs.types import EXTERNAL, SERVE, Given, Resources, Run, RunSpec, RunState

KINDS = ("command", "train", "trial", "ingest", "evaluate", "step", "pipeline", SERVE)
LABEL_LENGTH_MAX = 250
ARGUMENTS_MAX = 1_000
COMMAND_LENGTH_MAX = 128 * 1024
VARIABLES_MAX = 200
VARIABLE_LENGTH_MAX = 32 * 1024
TASK_BYTES_MAX = 4 * 1024**2
INPUTS_MAX = 1_000
WORKERS_MAX = 1_024
CPUS_MIN = 0.01
CPUS_MAX = 1_000_000.0
MEMORY_BYTES_MIN = 1024**2
PRIORITY_MAX = 1_000
TIMEOUT_S_MAX = 30 * 24 * 3600.0
START_BY_S_MAX = 30 * 24 * 3600.0
DEADLINE_S_MAX = 365 * 24 * 3600.0
RETRIES_MAX = 100
NAMES_MAX = 100
"""Accelerator types, or capabilities, a run may name."""
SEED_MAX = 2**32 - 1
BACKOFF_S = 1.0
BACKOFF_S_MAX = 300.0
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SCRIPT = re.compile(r"[\w./-]*\w\.[A-Za-z]{1,4}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")


def check_spec(spec: RunSpec, project: str) -> None:
    """Check everything a spec says by itself.

    Raises:
        InvalidValue: a field is outside what is allowed; the message names it.
        NotFound: an input of another project.
    """
    check_label(spec.name, "name", may_be_empty=True)
    check_label(spec.experiment, "experiment")
    _check_kind(spec)
    _check_env(spec.env)
    check_addresses(spec.inputs, "inputs", project)
    check_resources(spec.resources)
    for field, given, least, most in (
        ("priority", spec.priority, -PRIORITY_MAX, PRIORITY_MAX),
        ("timeout_s", spec.timeout_s, 0, TIMEOUT_S_MAX),
        ("start_by_s", spec.start_by_s, 0, START_BY_S_MAX),
        ("deadline_s", spec.deadline_s, 0, DEADLINE_S_MAX),
        ("retries", spec.retries, 0, RETRIES_MAX),
        ("seed", spec.seed or 0, 0, SEED_MAX),
        ("params", len(spec.params), 0, PARAMS_MAX),
        ("tags", len(spec.tags), 0, TAGS_MAX),
    ):
        _check_range(field, given, least, most)
    if spec.code and not _DIGEST.fullmatch(spec.code):
        raise InvalidValue(f"code {shorten(spec.code)!r} is not a digest.", fix="Upload the code first.", field="code")
    check_texts(spec.params, "params", PARAM_LENGTH_MAX)
    check_texts(spec.tags, "tags", TAG_LENGTH_MAX)


def check_work(spec: RunSpec) -> None:
    """Refuse a run that would do nothing. A run that was executed inside its parent has no command of its own.

    Raises:
        InvalidValue: neither a command nor a task.
    """
    if spec.kind == "command" and not spec.command:
        raise InvalidValue("a run of kind 'command' needs a command.", fix="Give an argument list.", field="command")
    if not spec.command and not spec.task and spec.kind != SERVE:
        raise InvalidValue(f"a run of kind {spec.kind!r} needs a task or a command.", field="task")


def check_actor(actor: Actor, spec: RunSpec) -> None:
    """Refuse a replica that somebody else submits: its process is given what only the platform's own may have.

    Raises:
        InvalidValue: it is of kind `serve`.
    """
    if spec.kind == SERVE and actor != PLATFORM:
        raise InvalidValue(
            f"runs of kind {SERVE!r} are submitted by the platform alone.", fix="Set SILL_REPLICAS.", field="kind"
        )


def check_label(text: str, field: str, *, may_be_empty: bool = False) -> str:
    """A text for people, if it is one printable line without blanks at its ends, at most 250 characters."""
    if text == "" and may_be_empty:
        return text
    if (
        not text
        or len(text) > LABEL_LENGTH_MAX
        or not text.isprintable()
        or text != text.strip()
        or text in (".", "..")
    ):
        raise InvalidValue(
            f"{field} {shorten(text)!r} is not allowed: one printable line without blanks at its ends, "
            f"1 to {LABEL_LENGTH_MAX} characters.",
            field=field,
        )
    return text


def check_resources(resources: Resources) -> None:
    """Refuse what no machine can mean: negative, not a number, endless."""
    _check_range("resources.cpus", resources.cpus, CPUS_MIN, CPUS_MAX)
    _check_range("resources.memory_bytes", resources.memory_bytes, MEMORY_BYTES_MIN, 2**60)
    _check_range("resources.accelerators", resources.accelerators, 0, 100_000)
    _check_range("resources.workers", resources.workers, 1, WORKERS_MAX)
    least, most = resources.workers_min or resources.workers, resources.workers_max or resources.workers
    _check_range("resources.workers_min", least, 1, resources.workers)
    _check_range("resources.workers_max", most, resources.workers, WORKERS_MAX)
    if least < most and not resources.accelerators:
        raise InvalidValue(
            f"{least} to {most} workers without accelerators: gangs are resized to the devices there are.",
            fix="Ask for accelerators, or for a fixed number of workers.",
            field="resources.workers_max",
        )
    for field in ("accelerator_types", "capabilities"):
        names = getattr(resources, field)
        if len(names) > NAMES_MAX:
            raise InvalidValue(f"resources.{field} has {len(names)} names, {NAMES_MAX} are allowed.", field=field)
        for name in names:
            check_name(name, f"resources.{field}")


def check_own(actor: Actor, run: Run) -> None:
    """A job token speaks for its own run, and for the runs that one started; every other actor for all it may write.

    Raises:
        Forbidden: another run's job.
    """
    if actor.run_id and actor.id != run.actor and actor.run_id not in (run.id, run.parent_id):
        raise Forbidden(f"{actor.id} may not write to run {run.id}.", fix="A job writes to its own run.")


def check_may_delete(run: Run) -> None:
    """Refuse to delete what an engine of ours still has in hand. A run elsewhere may be deleted at any time.

    Raises:
        Conflict: it is not over yet.
    """
    if not run.state.is_final and run.kind != EXTERNAL:
        raise Conflict(f"run {run.id} is {run.state}; only runs that are over can be deleted.", fix="Cancel it.")


def started(run: Run, handle: str, host: str, now_us: int, given: Given | None = None) -> Run:
    """The run, running, with the devices and workers it was given.

    Raises:
        Conflict: it does not wait any more.
    """
    if run.state is not RunState.QUEUED:
        raise Conflict(f"run {run.id} is {run.state}, it cannot be started.", fix="Look at it again.")
    given = given or Given()
    return msgspec.structs.replace(
        run,
        state=RunState.RUNNING,
        reason="",
        handle=handle,
        host=host,
        accelerator=given.accelerator,
        devices=given.devices,
        workers=given.workers,
        started_us=run.started_us or now_us,
        attempt_us=now_us,
        not_before_us=0,
        exit_code=None,
    )


def used(run: Run, status: EngineStatus) -> Usage:
    """What its attempt has used, of the devices it was given."""
    return Usage(**msgspec.structs.asdict(status.usage), accelerator=run.accelerator)


def after_attempt(run: Run, status: EngineStatus, now_us: int) -> Run:
    """The run after its attempt ended: over, or queued again for the next attempt, with use and reason."""
    ended = msgspec.structs.replace(
        run, usage=add_usage((run.usage, used(run, status))), exit_code=status.exit_code, ended_us=now_us
    )
    if run.is_stopping:
        return msgspec.structs.replace(ended, state=RunState.CANCELLED, is_stopping=False)
    if status.life is Life.ENDED and status.cause == "exit" and status.exit_code == 0:
        return msgspec.structs.replace(ended, state=RunState.FINISHED, reason="")
    if run.put_off_us:
        return _put_off(ended, now_us)
    why = why_ended(status)
    if run.attempt - run.put_offs <= run.spec.retries and not _has_judged(run, status):
        tries = run.attempt - run.put_offs
        wait_s = backoff_s(tries)
        reason = f"attempt {tries} of {run.spec.retries + 1} failed: {why} It is tried again after {wait_s:g} s."
        return msgspec.structs.replace(
            ended,
            state=RunState.QUEUED,
            reason=reason,
            attempt=run.attempt + 1,
            not_before_us=now_us + round(wait_s * 1e6),
            ended_us=0,
            handle="",
        )
    tries = run.attempt - run.put_offs
    tried = f" It was tried {tries} times." if tries > 1 else ""
    return msgspec.structs.replace(ended, state=RunState.FAILED, reason=f"{why}{tried}")


def put_off(run: Run, until_us: int, reason: str) -> Run:
    """The run that runs, being stopped to wait again until then.

    Raises:
        Conflict: it does not run any more.
    """
    if run.state is not RunState.RUNNING:
        raise Conflict(f"run {run.id} is {run.state}, it cannot be put off.", fix="Look at it again.")
    return msgspec.structs.replace(run, put_off_us=until_us, reason=reason)


def _put_off(run: Run, now_us: int) -> Run:
    """The run after it was stopped to wait again; it is no failure, and counts as no retry."""
    return msgspec.structs.replace(
        run,
        state=RunState.QUEUED,
        attempt=run.attempt + 1,
        put_offs=run.put_offs + 1,
        not_before_us=run.put_off_us if run.put_off_us > now_us else 0,
        put_off_us=0,
        exit_code=None,
        ended_us=0,
        handle="",
    )


def _has_judged(run: Run, status: EngineStatus) -> bool:
    """True if a pipeline's driver itself said that the pipeline failed: its steps have retries of their own."""
    return run.kind == "pipeline" and status.life is Life.ENDED and status.cause == "exit"


def cancelled(run: Run, actor_id: str, now_us: int) -> Run:
    """The run after somebody cancelled it: being stopped if it runs here, over if it waited or runs elsewhere.

    Raises:
        Conflict: it is over already.
    """
    if run.state.is_final:
        raise Conflict(f"run {run.id} is {run.state} already; it cannot be cancelled.", fix="Nothing is left to do.")
    reason = f"cancelled by {actor_id}."
    if run.state is RunState.RUNNING and run.kind != EXTERNAL:
        return msgspec.structs.replace(run, is_stopping=True, reason=reason)
    return msgspec.structs.replace(run, state=RunState.CANCELLED, reason=reason, ended_us=now_us)


def why_ended(status: EngineStatus) -> str:
    """A sentence about how an attempt went wrong."""
    if status.life is Life.LOST:
        return f"it was lost: {status.detail}"
    return status.detail or f"it ended with exit code {status.exit_code}."


def backoff_s(attempt: int) -> float:
    """Seconds between a failed attempt and the next: 1, 2, 4 … at most 300."""
    return min(BACKOFF_S * 2.0 ** (attempt - 1), BACKOFF_S_MAX)


def training_of(spec: RunSpec) -> str:
    """Name of the declared training a run belongs to, if any; triggers and rollouts look for it in the event."""
    named = spec.task.get("training")
    if isinstance(named, dict):
        named = named.get("name")
    return named if isinstance(named, str) else spec.tags.get("training", "")


def script_name(command: tuple[str, ...]) -> str:
    """What a command runs, for a run without a name: its script or module, else its program; empty for no command."""
    if not command:
        return ""
    program, *arguments = command
    found = program.rpartition("/")[2]
    for at, argument in enumerate(arguments):
        if argument == "-m" and at + 1 < len(arguments):
            found = arguments[at + 1]
            break
        if _SCRIPT.fullmatch(argument):
            found = argument.rpartition("/")[2]
        if not argument.startswith("-"):
            break
    return found[:LABEL_LENGTH_MAX] if found.isprintable() else ""


def _check_kind(spec: RunSpec) -> None:
    if spec.kind not in KINDS:
        raise InvalidValue(f"kind {shorten(spec.kind)!r} is not one of {', '.join(KINDS)}.", field="kind")
    _check_range("command", len(spec.command), 0, ARGUMENTS_MAX)
    if sum(map(len, spec.command)) > COMMAND_LENGTH_MAX or any("\0" in part for part in spec.command):
        raise InvalidValue(
            f"the command is longer than {COMMAND_LENGTH_MAX} characters or holds a NUL.", field="command"
        )
    if spec.command and not spec.command[0]:
        raise InvalidValue("the command's first argument, the program, is empty.", field="command")
    size = len(msgspec.json.encode(spec.task))
    _check_range("task (bytes)", size, 0, TASK_BYTES_MAX)


def _check_env(env: dict[str, str]) -> None:
    _check_range("env", len(env), 0, VARIABLES_MAX)
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name) or name.startswith("SILL_"):
            raise InvalidValue(
                f"env {shorten(name)!r} is not allowed: letters, digits and _, not starting with a digit or SILL_.",
                field="env",
            )
        if len(value) > VARIABLE_LENGTH_MAX or "\0" in value:
            raise InvalidValue(f"env {name!r} is longer than {VARIABLE_LENGTH_MAX} or holds a NUL.", field="env")


def check_addresses(inputs: tuple[str, ...], field: str, project: str) -> None:
    """Refuse what is no address, or one of another project."""
    _check_range(field, len(inputs), 0, INPUTS_MAX)
    for text in inputs:
        if parse_address(text).project != project:
            raise NotFound(
                f"no {shorten(text)!r}.", fix="Inputs are addresses of the run's own project.", field="inputs"
            )


def _check_range(field: str, given: float, least: float, most: float) -> None:
    if not math.isfinite(given) or not least <= given <= most:
        raise InvalidValue(f"{field} {given} is outside {least:g} to {most:g}.", field=field)
