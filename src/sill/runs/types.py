"""Runs: whatever executes. Words are MLflow's where it has them."""

from enum import StrEnum
from typing import Any

from sill.core.values import Value
from sill.costs.types import Cost, Usage


class RunState(StrEnum):
    """A run's life: queued → running → finished | failed | cancelled. A retry goes back to queued."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True when nothing follows."""
        return self in (RunState.FINISHED, RunState.FAILED, RunState.CANCELLED)


class Resources(Value, frozen=True, kw_only=True):
    """What one worker needs."""

    cpus: float = 1.0
    memory_bytes: int = 512 * 1024**2
    accelerators: float = 0.0
    workers: int = 1


class RunSpec(Value, frozen=True, kw_only=True):
    """What to run, with what, under which limits.

    Attributes:
        kind: `command`, `train`, `trial`, `ingest`, `evaluate`, `step` or `pipeline`.
        command: argument list; never a shell line. For platform kinds it is empty: the agent runs `task`.
        code: digest of the code archive the run is unpacked from; empty for none.
        task: what the agent is to do, for platform kinds (such as a training's spec).
        inputs: addresses of what it reads, with versions.
        timeout_s: 0 means none.
        retries: how often a failed attempt is repeated.
        resume: keep the working folder for the next attempt, so that the script finds its checkpoints.
    """

    name: str = ""
    kind: str = "command"
    command: tuple[str, ...] = ()
    code: str = ""
    task: dict[str, Any] = {}
    inputs: tuple[str, ...] = ()
    env: dict[str, str] = {}
    experiment: str = "default"
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    parent_id: str = ""
    resources: Resources = Resources()
    priority: int = 0
    timeout_s: float = 0.0
    retries: int = 0
    resume: bool = True
    seed: int | None = None


class Provenance(Value, frozen=True, kw_only=True):
    """What it takes to do it again: code, environment, data, seed, machine."""

    code: str = ""
    git_revision: str = ""
    git_diff: str = ""
    environment: str = ""
    """Digest of the list of installed packages."""
    python: str = ""
    machine: str = ""
    seed: int | None = None


class Run(Value, frozen=True, kw_only=True):
    """One execution. `reason` says why it waits, failed or was cancelled."""

    id: str
    project: str
    spec: RunSpec
    state: RunState
    kind: str = "command"
    experiment: str = "default"
    parent_id: str = ""
    name: str = ""
    reason: str = ""
    attempt: int = 1
    created_us: int = 0
    started_us: int = 0
    ended_us: int = 0
    not_before_us: int = 0
    exit_code: int | None = None
    actor: str = ""
    host: str = ""
    handle: str = ""
    """The engine's name for the process group of this attempt."""
    provenance: Provenance = Provenance()
    usage: Usage = Usage()
    cost: Cost | None = None
    outputs: tuple[str, ...] = ()
    """Addresses of what it made."""
    is_stopping: bool = False
    """Somebody cancelled it; its processes are being ended."""
    revision: int = 0


class Metric(Value, frozen=True, kw_only=True):
    """One point of a series. `value` may not be NaN or infinite; `step` counts from 0."""

    key: str
    value: float
    step: int = 0
    timestamp_ms: int = 0


class Batch(Value, frozen=True, kw_only=True):
    """Metrics, params and tags logged together, kept together."""

    metrics: tuple[Metric, ...] = ()
    params: dict[str, str] = {}
    tags: dict[str, str] = {}


class RunData(Value, frozen=True, kw_only=True):
    """What a run has logged: last value of each metric, params, tags."""

    metrics: dict[str, float] = {}
    params: dict[str, str] = {}
    tags: dict[str, str] = {}


class Artifact(Value, frozen=True, kw_only=True):
    """A file a run left."""

    path: str
    size_bytes: int
    digest: str


class LogChunk(Value, frozen=True, kw_only=True):
    """A piece of a run's output; ask again from `next_offset`. `is_end` once the run is over and all was read."""

    text: str
    next_offset: int
    is_end: bool


class RunUpdate(Value, frozen=True, kw_only=True):
    """What a run's own process reports of itself."""

    provenance: Provenance | None = None
    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


class InlineRun(Value, frozen=True, kw_only=True):
    """A run executed inside its parent's process (a trial, a cached step): recorded, not queued."""

    spec: RunSpec
    state: RunState
    started_us: int
    ended_us: int
    reason: str = ""
    batch: Batch = Batch()


class RunDeleted(Value, frozen=True, kw_only=True):
    """What the deletion of a run, and of the runs under it, freed."""

    runs: tuple[str, ...]
    bytes_freed: int


class Reason(Value, frozen=True, kw_only=True):
    """Why a run waits, failed or was cancelled, or how it stands; for people."""

    run_id: str
    state: RunState
    text: str


class CodeUpload(Value, frozen=True, kw_only=True):
    """A code archive that was taken: its digest is what `RunSpec.code` names."""

    digest: str
    size_bytes: int
    files: int


class Logged(Value, frozen=True, kw_only=True):
    """How much of a batch was kept: all of it."""

    metrics: int
    params: int
    tags: int
