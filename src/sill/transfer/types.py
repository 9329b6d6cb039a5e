"""What is carried from one tracking store to another, in the terms both have."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from sill.core.values import Value

STATUSES = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
"""MLflow's states of a run; their numbers in a file store begin with 1."""


class Experiment(Value, frozen=True, kw_only=True):
    """An experiment as its store has it."""

    id: str
    name: str
    tags: Mapping[str, str] = {}
    is_deleted: bool = False


class Point(Value, frozen=True, kw_only=True):
    """One value of a series. `at_ms` is milliseconds since 1970 UTC."""

    key: str
    value: float
    at_ms: int
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class DatasetInput(Value, frozen=True, kw_only=True):
    """A dataset a run read."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str = ""
    profile: str = ""
    tags: Mapping[str, str] = {}


class Run(Value, frozen=True, kw_only=True):
    """A run without its series and files.

    Attributes:
        keys: of its series.
        base: address of its files.
        end_ms: 0 if it has not ended.
        outputs: (id of a logged model, step).
    """

    id: str
    experiment_id: str
    name: str
    user: str
    status: str
    start_ms: int
    end_ms: int = 0
    base: str = ""
    is_deleted: bool = False
    params: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    keys: tuple[str, ...] = ()
    datasets: tuple[DatasetInput, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[tuple[str, int], ...] = ()


class LoggedModel(Value, frozen=True, kw_only=True):
    """A model that a run logged, without its files. `points` are its metrics, each with the run that measured it."""

    id: str
    experiment_id: str
    name: str
    kind: str = ""
    status: str = "LOGGED_MODEL_READY"
    run_id: str = ""
    base: str = ""
    params: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    points: tuple[tuple[str, Point], ...] = ()


class RegisteredModel(Value, frozen=True, kw_only=True):
    """A name in the registry."""

    name: str
    description: str = ""
    tags: Mapping[str, str] = {}
    aliases: Mapping[str, int] = {}


class Version(Value, frozen=True, kw_only=True):
    """A version of a registered model."""

    name: str
    number: int
    source: str
    description: str = ""
    run_id: str = ""
    model_id: str = ""
    stage: str = "None"
    tags: Mapping[str, str] = {}


class File(Value, frozen=True, kw_only=True):
    """A file of a run or logged model; `path` is relative to its files' address."""

    path: str
    size_bytes: int


Owner = Run | LoggedModel
"""What has files."""
Read = Callable[[], Iterator[bytes]]
"""Begins to read a file, again from its start each time it is called."""


class LeftOut(Value, frozen=True, kw_only=True):
    """What could not be taken, and why."""

    kind: str
    name: str
    why: str


class Report(Value, frozen=True, kw_only=True):
    """What a transfer did.

    Attributes:
        counts: things by kind, those of earlier, interrupted attempts included.
        bytes: of files.
        seconds: of this attempt.
        journal: the file that says what became of what: the ids of the source and of the target.
    """

    source: str
    target: str
    counts: Mapping[str, int]
    bytes: int
    seconds: float
    left_out: tuple[LeftOut, ...] = ()
    journal: str = ""


class Source(Protocol):
    """A store that is read."""

    address: str

    def experiments(self) -> Iterator[Experiment]:
        """All, deleted ones too."""
        ...

    def runs(self, experiment_id: str) -> Iterator[Run]:
        """All of an experiment, deleted ones too, in the order they were started."""
        ...

    def points(self, run: Run) -> Iterator[list[Point]]:
        """All its series, in batches."""
        ...

    def logged_models(self, experiment_id: str) -> Iterator[LoggedModel]:
        """All of an experiment that are not deleted."""
        ...

    def files(self, owner: Owner) -> Iterator[File]:
        """All its files.

        Raises:
            Refused: they lie where this source does not look.
        """
        ...

    def read(self, owner: Owner, path: str) -> AbstractContextManager[Iterator[bytes]]:
        """A file's bytes."""
        ...

    def registered_models(self) -> Iterator[RegisteredModel]:
        """All names."""
        ...

    def versions(self, name: str) -> Iterator[Version]:
        """All of a name, by number."""
        ...

    def left_out(self) -> Iterator[LeftOut]:
        """What the store has that none of the others gives."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class Target(Protocol):
    """A store that is written. Everything but `make_…` may be done twice."""

    address: str

    def experiment_named(self, name: str) -> str:
        """Its id, empty if there is none."""
        ...

    def make_experiment(self, experiment: Experiment) -> str:
        """A new experiment; returns its id."""
        ...

    def run_tagged(self, experiment_id: str, tag: str, value: str) -> str:
        """Id of the run of an experiment with that tag, empty if there is none."""
        ...

    def make_run(self, experiment_id: str, run: Run) -> str:
        """A new run with its tags; returns its id."""
        ...

    def tag_experiment(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        ...

    def begin_series(self, run_id: str) -> None:
        """All its points follow, from the first one."""
        ...

    def log(self, run_id: str, points: list[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Points, params and tags of a run, within the limits of one call."""
        ...

    def log_links(self, run_id: str, run: Run) -> None:
        """Its datasets, and the logged models it read and made (their ids are the target's)."""
        ...

    def end_run(self, run_id: str, run: Run) -> None:
        """Give it its state and its end."""
        ...

    def model_tagged(self, experiment_id: str, tag: str, value: str) -> str:
        """Id of the logged model with that tag, empty if there is none."""
        ...

    def make_model(self, experiment_id: str, model: LoggedModel) -> str:
        """A new logged model, not finished; returns its id."""
        ...

    def end_model(self, model_id: str, model: LoggedModel) -> None:
        """Give it its state."""
        ...

    def base(self, experiment_id: str, owner_id: str, *, is_model: bool) -> str:
        """Address of the files of a run or logged model."""
        ...

    def write(self, base: str, path: str, size_bytes: int, read: Read) -> None:
        """Put a file there.

        Raises:
            Refused: files do not lie where this target could put them.
        """
        ...

    def registered(self, name: str) -> RegisteredModel | None:
        """A name with its aliases, if it is there."""
        ...

    def make_registered(self, model: RegisteredModel) -> None:
        """A new name."""
        ...

    def version_tagged(self, name: str, tag: str, value: str) -> int:
        """Number of the version with that tag, 0 if there is none."""
        ...

    def make_version(self, version: Version) -> int:
        """A new version; returns its number, which need not be the one it has in the source."""
        ...

    def end_version(self, version: Version) -> None:
        """Give it its stage."""
        ...

    def delete_version(self, name: str, number: int) -> None:
        """Delete a version."""
        ...

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Let an alias mean a version."""
        ...

    def delete_run(self, run_id: str) -> None:
        """Mark it deleted."""
        ...

    def delete_experiment(self, experiment_id: str) -> None:
        """Mark it deleted."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
