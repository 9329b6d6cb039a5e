"""The port of an engine: it starts, watches and stops the processes of a run, and decides nothing."""

from enum import StrEnum
from typing import Any, BinaryIO, NamedTuple, Protocol, runtime_checkable

from sill.core.accelerators import AcceleratorType, Device
from sill.core.values import Value


class Capacity(Value, frozen=True, kw_only=True):
    """What an engine can hold at once."""

    cpus: float
    memory_bytes: int
    devices: tuple[Device, ...] = ()
    types: tuple[AcceleratorType, ...] = ()
    """Kinds of the devices."""


class Used(Value, frozen=True, kw_only=True):
    """Resources an attempt has used; the same fields as `costs.types.Usage`."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_gib_s: float = 0.0
    accelerator_s: float = 0.0
    memory_bytes_max: int = 0


class Machine(Value, frozen=True, kw_only=True):
    """What runs are executed on. `environment` is a digest of the installed packages and their versions."""

    host: str
    python: str
    machine: str
    environment: str


class StartSpec(Value, frozen=True, kw_only=True):
    """One attempt of a run, ready to start.

    Attributes:
        command: argument list; never a shell line.
        env: variables of the command, beside the engine's own clean ones. May hold secrets: they reach the process only.
        redact: texts that must not reach the log, such as the job token.
        task: written to `task.json` in the run folder; `SILL_TASK` names the file.
        workers: processes of the gang.
        cpus, memory_bytes, accelerators: of one worker.
        accelerator: type of the devices it was given; empty for none.
        devices: which of that type, counted in the order of `Capacity.devices`, worker after worker.
        timeout_s: 0 means none.
        resume: take over the working folder of the attempt before.
        relay: what a relay beside the command is told (`sill.relay`), its secrets among it; empty for no relay.
    """

    run_id: str
    attempt: int
    command: tuple[str, ...]
    env: dict[str, str] = {}
    redact: tuple[str, ...] = ()
    task: dict[str, Any] = {}
    workers: int = 1
    cpus: float = 1.0
    memory_bytes: int = 0
    accelerators: float = 0.0
    accelerator: str = ""
    devices: tuple[int, ...] = ()
    timeout_s: float = 0.0
    resume: bool = True
    relay: dict[str, Any] = {}


class Life(StrEnum):
    """What an engine knows of a handle.

    `absent`: never started. `alive`: it runs. `ended`: it is over and says how. `lost`: it was started, and nobody is
    left to say how it ended.
    """

    ABSENT = "absent"
    ALIVE = "alive"
    ENDED = "ended"
    LOST = "lost"


class EngineStatus(Value, frozen=True, kw_only=True):
    """How an attempt stands.

    Attributes:
        cause: why it ended: `exit`, `timeout`, `memory`, `stopped`, `spawn` (the command could not be started) or `engine`.
        detail: a sentence for people, empty after a clean exit.
        exit_code: of the first worker that failed, otherwise 0; None if a signal ended it.
        rank: the worker it is about; -1 for none.
        usage: so far, or in total once it ended.
    """

    life: Life
    cause: str = ""
    detail: str = ""
    exit_code: int | None = None
    signal: int = 0
    rank: int = -1
    started_us: int = 0
    ended_us: int = 0
    usage: Used = Used()


class LogPiece(Value, frozen=True, kw_only=True):
    """Bytes of the output from an offset on, and how much there is in all."""

    data: bytes
    size_bytes: int


class Sample(NamedTuple):
    """What gauges said at one moment: name (`system/…`) and value."""

    at_ms: int
    gauges: dict[str, float]


class Outputs(Value, frozen=True, kw_only=True):
    """Files an attempt left in its `outputs` folder, and what is there but is no regular file (with the reason)."""

    files: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


class Engine(Protocol):
    """Starts, watches and stops. Methods block: call them in a thread. Handles are made from run and attempt alone."""

    def capacity(self) -> Capacity:
        """What runs may use together."""
        ...

    def describe(self) -> Machine:
        """What runs are executed on, for their provenance."""
        ...

    def handle(self, run_id: str, attempt: int) -> str:
        """The name of an attempt at this engine, whether it was started or not."""
        ...

    def start(self, spec: StartSpec, code: BinaryIO | None = None) -> str:
        """Start the attempt and return its handle; a repeat changes nothing and starts nothing twice.

        Args:
            code: zip archive the working folder is made from.
        Raises:
            SillError: it cannot be started, such as for a damaged archive.
        """
        ...

    def poll(self, handle: str) -> EngineStatus:
        """How the attempt stands."""
        ...

    def exit_descriptor(self, handle: str) -> int | None:
        """A file descriptor that becomes readable when the attempt ends, or None. The caller closes it."""
        ...

    def stop(self, handle: str, grace_s: float) -> None:
        """Ask the attempt to end; what is left after `grace_s` is killed. Returns at once; a repeat changes nothing."""
        ...

    def kill_left(self, handle: str) -> int:
        """Kill what a lost attempt left running; the number of processes."""
        ...

    def read_log(self, handle: str, offset: int, limit: int) -> LogPiece:
        """Output of all workers; nothing if there is none yet."""
        ...

    def read_samples(self, handle: str, offset: int, limit: int) -> tuple[list[Sample], int]:
        """What the gauges of the attempt said, in order, from a place on; and the place behind. The first place is 0."""
        ...

    def outputs(self, handle: str) -> Outputs:
        """What the attempt left in its `outputs` folder."""
        ...

    def open_output(self, handle: str, path: str) -> BinaryIO:
        """One of the files; never through a link."""
        ...

    def remove(self, handle: str) -> int:
        """Remove all the attempt left on disk; bytes freed. Not to be called while it is alive."""
        ...


@runtime_checkable
class Reporting(Protocol):
    """An engine that starts many attempts at once and tells which ended. Its attempts call nobody, so they get no token,
    and leave nothing on this machine: no output, files or gauges.

    Attributes:
        ask_s: how often it is worth asking what ended.
    """

    ask_s: float

    def start_many(self, specs: "list[StartSpec]") -> None:
        """`Engine.start` for each, without code; a repeat starts nothing twice."""
        ...

    def ended(self) -> list[tuple[str, EngineStatus]]:
        """Handles of attempts that ended since the last call, and how. What was told may be told again."""
        ...
