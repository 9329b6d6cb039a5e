"""Reads an `mlruns` folder, without MLflow."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sill.core.errors import NotFound
from sill.safety.paths import Folder
from sill.transfer import file_layout as layout
from sill.transfer.file_layout import folders, read_meta, read_texts
from sill.transfer.local_files import LocalFiles
from sill.transfer.types import (
    STATUSES,
    DatasetInput,
    Experiment,
    File,
    LeftOut,
    LoggedModel,
    Owner,
    Point,
    RegisteredModel,
    Run,
    Version,
)

POINTS_PAGE = 10_000
FIELDS_WITH_DATASET = 5
"""Of a line of a series: time, value, step, dataset, digest."""


class FileSource:
    """A folder that is read. What in it is not as MLflow leaves it is passed over, and told.

    Args:
        artifacts: a folder in which files may lie besides, such as the server's.
    """

    def __init__(self, root: Path, artifacts: Path | None = None) -> None:
        self.address = root.absolute().as_uri()
        self._root = root.absolute()
        self._folder = Folder(root)
        self._files = LocalFiles([root], artifacts)
        self._left: list[LeftOut] = []

    def experiments(self) -> Iterator[Experiment]:
        """All, those in the trash last."""
        names = [name for name in folders(self._folder) if name != layout.REGISTRY and not name.startswith(".")]
        for at in (*names, *(f"{layout.TRASH}/{name}" for name in folders(self._folder, layout.TRASH))):
            meta = self._meta("experiment", at)
            if meta is not None:
                yield Experiment(
                    id=str(meta.get("experiment_id", at)),
                    name=str(meta.get("name", at)),
                    tags=read_texts(self._folder, f"{at}/{layout.TAGS}"),
                    is_deleted=meta.get("lifecycle_stage") == "deleted",
                )

    def runs(self, experiment_id: str) -> Iterator[Run]:
        """All of an experiment, by their start."""
        at = self._at(experiment_id)
        inner = {layout.TAGS, layout.DATASETS, layout.MODELS, layout.TRACES, layout.META}
        named = [name for name in folders(self._folder, at) if name not in inner]
        found = ((self._meta("run", f"{at}/{name}"), f"{at}/{name}") for name in named)
        known = [(meta, place) for meta, place in found if meta is not None]
        for meta, place in sorted(known, key=lambda each: int(each[0].get("start_time") or 0)):
            yield self._run(meta, place, experiment_id)

    def points(self, run: Run) -> Iterator[list[Point]]:
        """One series after another."""
        for key in run.keys:
            points: list[Point] = []
            with self._folder.open(f"{self._at(run.experiment_id)}/{run.id}/{layout.METRICS}/{key}") as file:
                for line in file:
                    point = self._point(key, line.decode(errors="replace").split(), f"{run.id} {key}")
                    points += [point] if point else []
                    if len(points) == POINTS_PAGE:
                        yield points
                        points = []
            yield points

    def logged_models(self, experiment_id: str) -> Iterator[LoggedModel]:
        """All of an experiment that are not deleted."""
        at = f"{self._at(experiment_id)}/{layout.MODELS}"
        for name in folders(self._folder, at):
            meta = self._meta("logged model", f"{at}/{name}")
            if meta is not None and meta.get("lifecycle_stage") != "deleted":
                yield self._logged_model(meta, f"{at}/{name}", experiment_id)

    def files(self, owner: Owner) -> Iterator[File]:
        """All its files."""
        return self._files.files(self._base(owner))

    def read(self, owner: Owner, path: str) -> AbstractContextManager[Iterator[bytes]]:
        """A file's bytes."""
        return self._files.read(self._base(owner), path)

    def registered_models(self) -> Iterator[RegisteredModel]:
        """All names."""
        for name in folders(self._folder, layout.REGISTRY):
            at = f"{layout.REGISTRY}/{name}"
            meta = self._meta("registered model", at)
            if meta is not None:
                aliases = read_texts(self._folder, f"{at}/{layout.ALIASES}")
                yield RegisteredModel(
                    name=str(meta.get("name", name)),
                    description=str(meta.get("description") or ""),
                    tags=read_texts(self._folder, f"{at}/{layout.TAGS}"),
                    aliases={alias: int(number) for alias, number in aliases.items() if number.strip().isdecimal()},
                )

    def versions(self, name: str) -> Iterator[Version]:
        """All of a name that are not deleted, by number."""
        at = f"{layout.REGISTRY}/{name}"
        names = [each for each in folders(self._folder, at) if each.startswith("version-")]
        found = [(read_meta(self._folder, f"{at}/{each}"), each) for each in names]
        known = [(meta, each) for meta, each in found if meta is not None and "version" in meta]
        for meta, each in sorted(known, key=lambda pair: int(pair[0]["version"])):
            if meta.get("current_stage") != "Deleted_Internal":
                yield Version(
                    name=name,
                    number=int(meta["version"]),
                    source=str(meta.get("source") or ""),
                    description=str(meta.get("description") or ""),
                    run_id=str(meta.get("run_id") or ""),
                    model_id=str(meta.get("model_id") or ""),
                    stage=str(meta.get("current_stage") or "None"),
                    tags=read_texts(self._folder, f"{at}/{each}/{layout.TAGS}"),
                )

    def left_out(self) -> Iterator[LeftOut]:
        """What could not be read, and how many traces there are."""
        yield from self._left
        for experiment in self.experiments():
            count = len(folders(self._folder, f"{self._at(experiment.id)}/{layout.TRACES}"))
            if count:
                yield LeftOut(kind="traces", name=experiment.name, why=f"{count} traces are not carried over.")

    def close(self) -> None:
        """Nothing is held open."""

    def _meta(self, kind: str, at: str) -> dict[str, Any] | None:
        meta = read_meta(self._folder, at)
        if meta is None and not any(left.name == at for left in self._left):
            self._left.append(LeftOut(kind=kind, name=at, why=f"It has no {layout.META} that can be read."))
        return meta

    def _at(self, experiment_id: str) -> str:
        """Where an experiment lies."""
        for at in (experiment_id, f"{layout.TRASH}/{experiment_id}"):
            try:
                self._folder.stat(at)
            except NotFound:
                continue
            return at
        raise NotFound(f"there is no experiment {experiment_id!r} in {self.address}.")

    def _base(self, owner: Owner) -> str:
        """Where its files lie. In its own folder if there is one there: a store may have been moved since."""
        inner = owner.id if isinstance(owner, Run) else f"{layout.MODELS}/{owner.id}"
        own = f"{self._at(owner.experiment_id)}/{inner}/{layout.FILES}"
        try:
            self._folder.stat(own)
        except NotFound:
            return owner.base
        return str(self._root / own)

    def _run(self, meta: dict[str, Any], at: str, experiment_id: str) -> Run:
        status = meta.get("status", 1)
        is_known = isinstance(status, int) and 0 < status <= len(STATUSES)
        tags = read_texts(self._folder, f"{at}/{layout.TAGS}")
        datasets, inputs = self._inputs(at, experiment_id)
        return Run(
            id=at.rpartition("/")[2],
            experiment_id=experiment_id,
            name=str(meta.get("run_name") or meta.get("name") or tags.get("mlflow.runName", "")),
            user=str(meta.get("user_id") or ""),
            status=STATUSES[status - 1] if is_known else str(status),
            start_ms=int(meta.get("start_time") or 0),
            end_ms=int(meta.get("end_time") or 0),
            base=str(meta.get("artifact_uri") or ""),
            is_deleted=meta.get("lifecycle_stage") == "deleted",
            params=read_texts(self._folder, f"{at}/{layout.PARAMS}"),
            tags=tags,
            keys=tuple(self._keys(f"{at}/{layout.METRICS}")),
            datasets=datasets,
            inputs=inputs,
            outputs=self._outputs(at),
        )

    def _keys(self, at: str) -> Iterator[str]:
        try:
            yield from (path.removeprefix(f"{at}/") for path in self._folder.walk(at))
        except NotFound:
            return

    def _inputs(self, at: str, experiment_id: str) -> tuple[tuple[DatasetInput, ...], tuple[str, ...]]:
        """Datasets and logged models that a run read."""
        datasets: list[DatasetInput] = []
        models: list[str] = []
        for name in folders(self._folder, f"{at}/{layout.INPUTS}"):
            link = read_meta(self._folder, f"{at}/{layout.INPUTS}/{name}") or {}
            source = str(link.get("source_id", ""))
            if link.get("source_type") in ("MODEL", "MODEL_INPUT"):
                models.append(source)
            elif link:
                told = read_meta(self._folder, f"{self._at(experiment_id)}/{layout.DATASETS}/{source}")
                tags = {str(key): str(value) for key, value in (link.get("tags") or {}).items()}
                datasets += [_dataset(told, tags)] if told else []
        return tuple(datasets), tuple(models)

    def _outputs(self, at: str) -> tuple[tuple[str, int], ...]:
        links = [
            read_meta(self._folder, f"{at}/{layout.OUTPUTS}/{name}")
            for name in folders(self._folder, f"{at}/{layout.OUTPUTS}")
        ]
        return tuple(
            (str(link["source_id"]), int(link.get("step") or 0)) for link in links if link and "source_id" in link
        )

    def _logged_model(self, meta: dict[str, Any], at: str, experiment_id: str) -> LoggedModel:
        status = meta.get("status", 0)
        is_known = isinstance(status, int) and 0 <= status < len(layout.LOGGED_MODEL_STATUSES)
        points: list[tuple[str, Point]] = []
        for key, text in read_texts(self._folder, f"{at}/{layout.METRICS}").items():
            for line in text.splitlines():
                fields = line.split()
                run_id = fields.pop(3) if len(fields) > 3 else ""
                point = self._point(key, fields, f"{at} {key}")
                points += [(run_id, point)] if point else []
        return LoggedModel(
            id=at.rpartition("/")[2],
            experiment_id=experiment_id,
            name=str(meta.get("name") or ""),
            kind=str(meta.get("model_type") or ""),
            status=layout.LOGGED_MODEL_STATUSES[status] if is_known else str(status),
            run_id=str(meta.get("source_run_id") or ""),
            base=str(meta.get("artifact_location") or ""),
            params=read_texts(self._folder, f"{at}/{layout.PARAMS}"),
            tags=read_texts(self._folder, f"{at}/{layout.TAGS}"),
            points=tuple(points),
        )

    def _point(self, key: str, fields: list[str], place: str) -> Point | None:
        """A line of a series: time and value, later also step, later also dataset and digest."""
        try:
            with_dataset = fields[3:] if len(fields) == FIELDS_WITH_DATASET else ["", ""]
            return Point(
                key=key,
                at_ms=int(fields[0]),
                value=float(fields[1]),
                step=int(fields[2]) if len(fields) > 2 else 0,
                dataset_name=with_dataset[0],
                dataset_digest=with_dataset[1],
            )
        except (ValueError, IndexError):
            self._left.append(LeftOut(kind="point", name=place, why="The line cannot be read."))
            return None


def _dataset(told: dict[str, Any], tags: dict[str, str]) -> DatasetInput:
    names = ("name", "digest", "source_type", "source", "schema", "profile")
    return DatasetInput(**{name: str(told.get(name) or "") for name in names}, tags=tags)
