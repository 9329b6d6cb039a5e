"""Writes an `mlruns` folder as MLflow lays it out. Ids stay what they are in the source.

MLflow reads it with MLFLOW_ALLOW_FILE_STORE=true, and `mlflow migrate-filestore` turns it into a database.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sill.core.errors import Conflict, NotFound
from sill.safety.paths import Folder
from sill.transfer import file_layout as layout
from sill.transfer.file_layout import folders, read_meta, read_texts, write_meta, write_texts
from sill.transfer.types import (
    STATUSES,
    DatasetInput,
    Experiment,
    LoggedModel,
    Point,
    Read,
    RegisteredModel,
    Run,
    Version,
)

MARK = ".sill-export"
"""A file that says that the folder is an export, which another attempt may go on with."""


class FileTarget:
    """A folder that is written.

    Raises:
        Conflict: there is something in it, and it is not an export of ours.
    """

    def __init__(self, root: Path) -> None:
        names = set(root.iterdir()) if root.is_dir() else set()
        if names and root / MARK not in names:
            raise Conflict(f"{str(root)!r} is not empty.", fix="Give a folder that is not there yet.")
        self.address = root.absolute().as_uri()
        self._root = root.absolute()
        self._folder = Folder(root)
        for name in (layout.TRASH, layout.REGISTRY):
            self._folder.make_folder(name)
        self._folder.open(MARK, "ab").close()
        self._places = dict(self._found())
        """Run or logged model → the folder it lies in."""

    def experiment_named(self, name: str) -> str:
        """Its id."""
        for at in (each for each in folders(self._folder) if each.isdecimal()):
            meta = read_meta(self._folder, at)
            if meta and meta.get("name") == name:
                return at
        return ""

    def make_experiment(self, experiment: Experiment) -> str:
        """A new experiment, under its own id."""
        now_ms = _now_ms()
        about = {
            "artifact_location": (self._root / experiment.id).as_uri(),
            "creation_time": now_ms,
            "experiment_id": experiment.id,
            "last_update_time": now_ms,
            "lifecycle_stage": "active",
            "name": experiment.name,
        }
        write_meta(self._folder, experiment.id, about)
        return experiment.id

    def tag_experiment(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        write_texts(self._folder, f"{experiment_id}/{layout.TAGS}", tags)

    def run_tagged(self, experiment_id: str, tag: str, value: str) -> str:
        """The run of that id: ids stay."""
        return value if read_meta(self._folder, f"{experiment_id}/{value}") else ""

    def make_run(self, experiment_id: str, run: Run) -> str:
        """A new run, under its own id."""
        at = f"{experiment_id}/{run.id}"
        self._places[run.id] = at
        for name in (layout.METRICS, layout.PARAMS, layout.FILES):
            self._folder.make_folder(f"{at}/{name}")
        write_texts(self._folder, f"{at}/{layout.TAGS}", run.tags)
        about: dict[str, Any] = {
            "artifact_uri": (self._root / at / layout.FILES).as_uri(),
            "end_time": None,
            "entry_point_name": "",
            "experiment_id": experiment_id,
            "lifecycle_stage": "active",
            "run_id": run.id,
            "run_uuid": run.id,
            "run_name": run.name,
            "source_name": "",
            "source_type": 4,
            "source_version": "",
            "start_time": run.start_ms,
            "status": 1,
            "tags": [],
            "user_id": run.user,
        }
        write_meta(self._folder, at, about)
        return run.id

    def begin_series(self, run_id: str) -> None:
        """Its series are written from their start: what an interrupted attempt left goes."""
        at = f"{self._at(run_id)}/{layout.METRICS}"
        for path in list(self._folder.walk(at)):
            self._folder.remove(path)

    def log(self, run_id: str, points: list[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Points behind those that are there, params and tags. A point of a model's is in its run's series already."""
        at = self._at(run_id)
        lines: dict[str, list[str]] = {}
        for point in points:
            if point.model_id:
                self._log_of_model(run_id, point)
            else:
                lines.setdefault(point.key, []).append(f"{point.at_ms} {point.value!r} {point.step}\n")
        for key, some in lines.items():
            with self._folder.open(f"{at}/{layout.METRICS}/{key}", "ab") as file:
                file.write("".join(some).encode())
        write_texts(self._folder, f"{at}/{layout.PARAMS}", params)
        write_texts(self._folder, f"{at}/{layout.TAGS}", tags)

    def log_links(self, run_id: str, run: Run) -> None:
        """Its datasets, and the logged models it read and made."""
        at = self._at(run_id)
        for each in run.datasets:
            self._dataset(at, run_id, each)
        for model_id in run.inputs:
            self._link(f"{at}/{layout.INPUTS}/{_digest(model_id, run_id)}", "MODEL", model_id, "RUN", {})
        for model_id, step in run.outputs:
            self._link(f"{at}/{layout.OUTPUTS}/{model_id}", "RUN_OUTPUT", model_id, "MODEL_OUTPUT", {"step": step})

    def end_run(self, run_id: str, run: Run) -> None:
        """Give it its state and its end."""
        status = STATUSES.index(run.status) + 1 if run.status in STATUSES else 1
        self._change(self._at(run_id), status=status, end_time=run.end_ms or None)

    def model_tagged(self, experiment_id: str, tag: str, value: str) -> str:
        """The logged model of that id: ids stay."""
        return value if read_meta(self._folder, f"{experiment_id}/{layout.MODELS}/{value}") else ""

    def make_model(self, experiment_id: str, model: LoggedModel) -> str:
        """A new logged model, under its own id."""
        at, now_ms = f"{experiment_id}/{layout.MODELS}/{model.id}", _now_ms()
        self._places[model.id] = at
        for name in (layout.METRICS, layout.FILES):
            self._folder.make_folder(f"{at}/{name}")
        write_texts(self._folder, f"{at}/{layout.PARAMS}", model.params)
        write_texts(self._folder, f"{at}/{layout.TAGS}", model.tags)
        about = {
            "artifact_location": (self._root / at / layout.FILES).as_uri(),
            "creation_timestamp": now_ms,
            "experiment_id": experiment_id,
            "last_updated_timestamp": now_ms,
            "model_id": model.id,
            "model_type": model.kind or None,
            "name": model.name,
            "source_run_id": model.run_id or None,
            "status": 1,
            "status_message": None,
        }
        write_meta(self._folder, at, about)
        return model.id

    def end_model(self, model_id: str, model: LoggedModel) -> None:
        """Give it its state."""
        if model.status in layout.LOGGED_MODEL_STATUSES:
            self._change(self._at(model_id), status=layout.LOGGED_MODEL_STATUSES.index(model.status))

    def base(self, experiment_id: str, owner_id: str, *, is_model: bool) -> str:
        """Address of the files of a run or logged model."""
        return (self._root / self._at(owner_id) / layout.FILES).as_uri()

    def write(self, base: str, path: str, size_bytes: int, read: Read) -> None:
        """Put a file there."""
        at = base.removeprefix(f"{self.address}/")
        with self._folder.open(f"{at}/{path}", "wb") as file:
            for piece in read():
                file.write(piece)

    def registered(self, name: str) -> RegisteredModel | None:
        """A name with its aliases, if it is there."""
        at = f"{layout.REGISTRY}/{name}"
        meta = read_meta(self._folder, at)
        if meta is None:
            return None
        aliases = read_texts(self._folder, f"{at}/{layout.ALIASES}")
        return RegisteredModel(name=name, aliases={alias: int(number) for alias, number in aliases.items()})

    def make_registered(self, model: RegisteredModel) -> None:
        """A new name."""
        at, now_ms = f"{layout.REGISTRY}/{model.name}", _now_ms()
        about: dict[str, Any] = {
            "aliases": {},
            "creation_timestamp": now_ms,
            "description": model.description or None,
            "last_updated_timestamp": now_ms,
            "name": model.name,
        }
        write_texts(self._folder, f"{at}/{layout.TAGS}", model.tags)
        self._folder.make_folder(f"{at}/{layout.ALIASES}")
        write_meta(self._folder, at, about)

    def version_tagged(self, name: str, tag: str, value: str) -> int:
        """The version of that number: numbers stay."""
        return int(value) if read_meta(self._folder, _version_at(name, int(value))) else 0

    def make_version(self, version: Version) -> int:
        """A new version, under its own number."""
        at, now_ms = _version_at(version.name, version.number), _now_ms()
        write_texts(self._folder, f"{at}/{layout.TAGS}", version.tags)
        about = {
            "creation_timestamp": now_ms,
            "current_stage": "None",
            "description": version.description or None,
            "last_updated_timestamp": now_ms,
            "model_id": version.model_id or None,
            "name": version.name,
            "run_id": version.run_id or None,
            "run_link": None,
            "source": version.source,
            "status": "READY",
            "status_message": None,
            "storage_location": version.source,
            "user_id": None,
            "version": version.number,
        }
        write_meta(self._folder, at, about)
        return version.number

    def end_version(self, version: Version) -> None:
        """Give it its stage."""
        self._change(_version_at(version.name, version.number), current_stage=version.stage)

    def delete_version(self, name: str, number: int) -> None:
        """Mark it deleted."""
        self._change(_version_at(name, number), current_stage="Deleted_Internal")

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Let an alias mean a version."""
        at = f"{layout.REGISTRY}/{name}"
        write_texts(self._folder, f"{at}/{layout.ALIASES}", {alias: str(number)})
        known = (read_meta(self._folder, at) or {}).get("aliases") or {}
        self._change(at, aliases={**known, alias: str(number)})

    def delete_run(self, run_id: str) -> None:
        """Mark it deleted."""
        self._change(self._at(run_id), lifecycle_stage="deleted", deleted_time=_now_ms())

    def delete_experiment(self, experiment_id: str) -> None:
        """Mark it deleted, and put it into the trash."""
        self._change(experiment_id, lifecycle_stage="deleted")
        (self._root / experiment_id).rename(self._root / layout.TRASH / experiment_id)

    def close(self) -> None:
        """Nothing is held open."""

    def _at(self, owner_id: str) -> str:
        """Where a run or logged model lies."""
        if owner_id not in self._places:
            raise NotFound(f"there is no {owner_id!r} in {self.address}.")
        return self._places[owner_id]

    def _found(self) -> Iterator[tuple[str, str]]:
        """What an earlier attempt has written."""
        for experiment_id in (name for name in folders(self._folder) if name.isdecimal()):
            for above in (experiment_id, f"{experiment_id}/{layout.MODELS}"):
                for name in folders(self._folder, above):
                    yield name, f"{above}/{name}"

    def _change(self, at: str, **values: Any) -> None:
        meta = read_meta(self._folder, at)
        if meta is None:
            raise NotFound(f"there is no {layout.META} in {at!r}.")
        write_meta(self._folder, at, {**meta, **values})

    def _log_of_model(self, run_id: str, point: Point) -> None:
        dataset = f" {point.dataset_name} {point.dataset_digest}" if point.dataset_name else ""
        with self._folder.open(f"{self._at(point.model_id)}/{layout.METRICS}/{point.key}", "ab") as file:
            file.write(f"{point.at_ms} {point.value!r} {point.step} {run_id}{dataset}\n".encode())

    def _dataset(self, at: str, run_id: str, dataset: DatasetInput) -> None:
        dataset_id = _digest(dataset.name, dataset.digest)
        about = {
            "digest": dataset.digest,
            "name": dataset.name,
            "profile": dataset.profile or None,
            "schema": dataset.schema or None,
            "source": dataset.source,
            "source_type": dataset.source_type,
        }
        write_meta(self._folder, f"{at.partition('/')[0]}/{layout.DATASETS}/{dataset_id}", about)
        link = f"{at}/{layout.INPUTS}/{_digest(dataset_id, run_id)}"
        self._link(link, "DATASET", dataset_id, "RUN", {"tags": dict(dataset.tags)})

    def _link(self, at: str, kind: str, source_id: str, to: str, more: Mapping[str, Any]) -> None:
        about = {
            "destination_id": source_id,
            "destination_type": to,
            "source_id": source_id,
            "source_type": kind,
            "tags": {},
        }
        write_meta(self._folder, at, {**about, **more})


def _version_at(name: str, number: int) -> str:
    return f"{layout.REGISTRY}/{name}/version-{number}"


def _digest(one: str, other: str) -> str:
    """The id MLflow's file store gives what two texts name together."""
    return hashlib.md5((one + other).encode(), usedforsecurity=False).hexdigest()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
