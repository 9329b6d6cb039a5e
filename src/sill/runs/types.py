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


class Lifecycle(StrEnum):
    """Whether something is there, or was deleted and can still be restored."""

    ACTIVE = "active"
    DELETED = "deleted"


class View(StrEnum):
    """Which of the things are looked at: those that are there, those that were deleted, or both."""

    ACTIVE = "active"
    DELETED = "deleted"
    ALL = "all"

    @property
    def lifecycles(self) -> tuple[Lifecycle, ...]:
        """The lifecycles it shows."""
        return tuple(Lifecycle) if self is View.ALL else (Lifecycle(self.value),)


EXTERNAL = "external"
"""Kind and handle of a run that executes elsewhere and only reports here, as an MLflow client's; never scheduled."""

SERVE = "serve"
"""Kind of a replica of the inference plane; the platform alone submits them."""


class Resources(Value, frozen=True, kw_only=True):
    """What one worker needs."""

    cpus: float = 1.0
    memory_bytes: int = 512 * 1024**2
    accelerators: float = 0.0
    """Whole devices, or a part of one."""
    accelerator_types: tuple[str, ...] = ()
    """Kinds of devices it can use, the best first; any when empty."""
    capabilities: tuple[str, ...] = ()
    """What the devices must have, such as `bf16`."""
    workers: int = 1
    workers_min: int = 0
    workers_max: int = 0
    """With so few, or so many, it runs too (0: as `workers`): it may be stopped and started again with another number."""


class Given(Value, frozen=True, kw_only=True):
    """What an attempt gets of the machine: accelerator type, devices of it, and workers (0: as many as it asked for)."""

    accelerator: str = ""
    devices: tuple[int, ...] = ()
    workers: int = 0


class RunSpec(Value, frozen=True, kw_only=True):
    """What to run, with what, under which limits.

    Attributes:
        kind: `command`, `train`, `trial`, `ingest`, `evaluate`, `step` or `pipeline`; `serve` is the platform's own.
        command: argument list; never a shell line. For platform kinds it is empty: the agent runs `task`.
        code: digest of the code archive the run is unpacked from; empty for none.
        task: what the agent is to do, for platform kinds (such as a training's spec).
        inputs: addresses of what it reads, with versions.
        timeout_s: 0 means none.
        retries: how often a failed attempt is repeated.
        resume: keep the working folder for the next attempt, so that the script finds its checkpoints.
        preemptible: it may be stopped for others, and then waits again; it goes on from its checkpoints.
        start_by_s: it may wait so long after its submission for power that costs or emits less; 0 to start as soon as it can.
        deadline_s: it should be over so long after its submission, which the policy `elastic` makes sure of where it can; 0
            for no deadline.
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
    preemptible: bool = False
    start_by_s: float = 0.0
    deadline_s: float = 0.0
    seed: int | None = None


class RunSpecs(Value, frozen=True, kw_only=True):
    """Runs that are submitted together, such as those of a sweep: all of them are queued, or none."""

    runs: tuple[RunSpec, ...]


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
    start_by_us: int = 0
    """Until when it may wait for cheaper or cleaner power; 0 for not at all."""
    deadline_us: int = 0
    """When it should be over; 0 for never."""
    attempt_us: int = 0
    """When the last attempt started."""
    put_off_us: int = 0
    """It is being stopped to wait again, until then at least; 0 if not."""
    put_offs: int = 0
    """How many attempts ended that way; they are no retries."""
    exit_code: int | None = None
    actor: str = ""
    host: str = ""
    handle: str = ""
    """The engine's name for the process group of this attempt."""
    accelerator: str = ""
    """Kind of the devices this attempt was given."""
    devices: tuple[int, ...] = ()
    """Which of that kind, worker after worker."""
    workers: int = 0
    """How many processes this attempt was given, if not as many as it asked for."""
    provenance: Provenance = Provenance()
    usage: Usage = Usage()
    cost: Cost | None = None
    outputs: tuple[str, ...] = ()
    """Addresses of what it made."""
    is_stopping: bool = False
    """Somebody cancelled it; its processes are being ended."""
    experiment_id: str = "0"
    """`experiment` is the name that experiment had when the run was made."""
    user: str = ""
    """Who started it, in words of the client; `actor` is the token."""
    artifact_uri: str = ""
    """Where its artifacts lie, in the form MLflow's clients read."""
    lifecycle: Lifecycle = Lifecycle.ACTIVE
    deleted_us: int = 0
    revision: int = 0


class Waiting(Value, frozen=True, kw_only=True):
    """A run that waits: the queue it waits in, since when it is here, what it asks for, and what holds it back."""

    project: str
    run_id: str
    name: str
    queue: str
    created_us: int
    resources: Resources
    reason: str


class RunsSubmitted(Value, frozen=True, kw_only=True):
    """Runs that were queued together, in the order they were asked for."""

    runs: tuple[Run, ...]


NOW = -1
"""A timestamp that is taken when the point is kept."""


class Metric(Value, frozen=True, kw_only=True):
    """One point of a series. `value` may be NaN or infinite, `step` any 64-bit integer; both are kept as they are.

    `model_id`, `dataset_name` and `dataset_digest` say what was measured, if more than the run.
    """

    key: str
    value: float
    step: int = 0
    timestamp_ms: int = NOW
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


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


class ArtifactEntry(Value, frozen=True, kw_only=True):
    """A file or folder right in a folder; a folder has no size."""

    path: str
    is_folder: bool
    size_bytes: int = 0


class ByteRange(Value, frozen=True, kw_only=True):
    """The part of a file that is sent: from `start` up to, but not including, `end`."""

    start: int
    end: int


class ArtifactsDeleted(Value, frozen=True, kw_only=True):
    """What the deletion of artifacts freed."""

    files: int
    bytes_freed: int


class Part(Value, frozen=True, kw_only=True):
    """A piece of a file that is uploaded in pieces."""

    number: int
    digest: str
    size_bytes: int


class Upload(Value, frozen=True, kw_only=True):
    """A file that is uploaded in pieces, in any order, until it is completed or given up. Forgotten after a day."""

    id: str
    project: str
    owner: str
    path: str
    parts_expected: int
    parts: tuple[Part, ...] = ()
    created_us: int = 0
    actor: str = ""
    revision: int = 0


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
    """Which runs were deleted, what that freed, and until when they can be restored (0: they are gone)."""

    runs: tuple[str, ...]
    bytes_freed: int
    restorable_until_us: int = 0


class Difference(Value, frozen=True, kw_only=True):
    """One thing that runs are compared by: a `field`, `param`, `metric` or `tag`; None where a run has none."""

    kind: str
    key: str
    values: tuple[str | float | None, ...]


class ComparisonSpec(Value, frozen=True, kw_only=True):
    """Which runs to compare; `with_equal` shows what is the same in all, too."""

    runs: tuple[str, ...]
    with_equal: bool = False


class Comparison(Value, frozen=True, kw_only=True):
    """Runs side by side: ids and names in order, and a row for each thing that differs."""

    runs: tuple[str, ...]
    names: tuple[str, ...]
    rows: tuple[Difference, ...]
    equal: int = 0
    """How many things are the same in all."""
    left_out: int = 0
    """How many rows were too many."""


class ExternalStart(Value, frozen=True, kw_only=True):
    """A run that executes elsewhere, as it begins. `start_us` None means now."""

    experiment_id: str = "0"
    name: str = ""
    user: str = ""
    start_us: int | None = None
    tags: dict[str, str] = {}


class ExternalUpdate(Value, frozen=True, kw_only=True):
    """What changed of a run that executes elsewhere; None or empty leaves a field as it is."""

    state: RunState | None = None
    end_us: int | None = None
    name: str = ""


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
