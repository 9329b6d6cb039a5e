"""Copies everything from one tracking store to another, in an order in which each thing finds what it refers to.

Each experiment: its runs with params, tags, series and files; then the logged models, which name the runs. Then the links
from runs to runs and models. Then the registry, whose versions name both. What the source has deleted is deleted last.

Every step may be done twice, or asks first: what makes something notes before that it begins, and looks by the mark it
leaves in the target (a tag with the source's id) when it was ended between the two.
"""

import time
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import msgspec

from sill.core.errors import Limited, SillError, Unauthenticated, Unavailable
from sill.transfer.journal import Journal
from sill.transfer.rest import PROXIED
from sill.transfer.types import (
    DatasetInput,
    Experiment,
    File,
    LeftOut,
    LoggedModel,
    Owner,
    Point,
    RegisteredModel,
    Report,
    Run,
    Source,
    Target,
    Version,
)

PARENT = "mlflow.parentRunId"
"""The tag that says which run a run belongs to."""
MARK = "sill.source."
"""Tags of what was carried over begin with this; the source's id follows."""
POINTS_MAX = 1_000
LEFT_OUT_MAX = 1_000
"""Reasons a report holds; more are counted."""
LEFT_FOR_GOOD = ("point", "dataset", "file", "files of run", "files of logged model")
"""Kinds that another attempt does not ask for again, so that it has to know why they were left out."""
KINDS = {
    "experiment": "experiments",
    "run": "runs",
    "points": "points",
    "model": "logged models",
    "file": "files",
    "name": "registered models",
    "version": "versions",
    "alias": "aliases",
}
T = TypeVar("T")


class Tell(Protocol):
    """Told what is being done."""

    def __call__(self, line: str, /) -> None: ...


class Transfer:
    """One copy.

    Args:
        tell: told where it is, often.
    """

    def __init__(self, source: Source, target: Target, journal: Journal, tell: Tell) -> None:
        self._source = source
        self._target = target
        self._journal = journal
        self._tell = tell
        self._left_out: list[LeftOut] = []
        self._left_out_count = 0
        for place, why in journal.each("left"):
            kind, _, name = place.partition("\t")
            self._keep(LeftOut(kind=kind, name=name, why=why))

    def run(self) -> Report:
        """Copy what is not copied yet.

        Raises:
            Unavailable, Unauthenticated: one of the two does not answer; another attempt goes on from here.
        """
        started_s = time.monotonic()
        try:
            placed = [each for each in self._source.experiments() if self._experiment(each)]
            for experiment in placed:
                self._finish(experiment)
            for model in self._source.registered_models():
                self._attempt("registered model", model.name, lambda model=model: self._registered(model))  # type: ignore[misc]
            for experiment in placed:
                if experiment.is_deleted:
                    self._delete("experiment", experiment.id, self._target.delete_experiment)
            for left in self._source.left_out():
                self._leave(left)
        finally:
            self._journal.commit()
        return self._report(time.monotonic() - started_s)

    def _report(self, seconds: float) -> Report:
        counted = {KINDS[kind]: self._journal.count(kind) for kind in KINDS}
        counts = {name: size if name == "points" else count for name, (count, size) in counted.items()}
        return Report(
            source=self._source.address,
            target=self._target.address,
            counts={**counts, "left out": self._left_out_count},
            bytes=counted["files"][1],
            seconds=round(seconds, 3),
            left_out=tuple(self._left_out),
            journal=str(self._journal.path),
        )

    def _experiment(self, experiment: Experiment) -> bool:
        """Copy an experiment with its runs and models; False if it could not be made."""
        target_id = self._attempt("experiment", experiment.name, lambda: self._place(experiment))
        if target_id is None:
            return False
        if self._journal.get("finished", experiment.id) is not None:
            return True
        for run in self._source.runs(experiment.id):
            self._say("run", run.name or run.id)
            self._attempt("run", run.id, lambda run=run: self._run(target_id, run))  # type: ignore[misc]
        for model in self._source.logged_models(experiment.id):
            self._say("logged model", model.name)
            self._attempt("logged model", model.id, lambda model=model: self._model(target_id, model))  # type: ignore[misc]
        return True

    def _finish(self, experiment: Experiment) -> None:
        """Tell the runs what they refer to, now that all is there, and delete those that are deleted."""
        if self._journal.get("finished", experiment.id) is not None:
            return
        is_whole = True
        for run in self._source.runs(experiment.id):
            is_whole &= self._journal.get("run", run.id) is not None
            if self._journal.get("run deleted", run.id) is None:
                self._attempt("links of run", run.id, lambda run=run: self._link(run))  # type: ignore[misc]
                if run.is_deleted:
                    self._delete("run", run.id, self._target.delete_run)
        if is_whole:
            self._journal.note("finished", experiment.id)

    def _place(self, experiment: Experiment) -> str:
        """The experiment of that name in the target; it is made if there is none."""
        known = self._journal.get("experiment", experiment.id)
        if known is not None:
            return known
        found = self._target.experiment_named(experiment.name) or self._target.make_experiment(experiment)
        self._target.tag_experiment(found, {**experiment.tags, f"{MARK}experiment_id": experiment.id})
        self._journal.note("experiment", experiment.id, found)
        return found

    def _run(self, experiment_id: str, run: Run) -> None:
        if self._journal.get("run", run.id) is not None:
            return
        made = self._once("run", run.id, lambda: self._make_run(experiment_id, run), self._find_run(experiment_id, run))
        if self._journal.get("points", run.id) is None:
            self._target.begin_series(made)
            self._target.log(made, [], run.params, {})
            self._journal.note("points", run.id, size=self._points(made, run))
        self._files(experiment_id, run, made)
        if run.datasets:
            self._datasets(made, run)
        self._target.end_run(made, run)
        self._journal.note("run", run.id, made)

    def _make_run(self, experiment_id: str, run: Run) -> str:
        return self._target.make_run(
            experiment_id, msgspec.structs.replace(run, tags=self._marked(run.tags, "run_id", run.id))
        )

    def _find_run(self, experiment_id: str, run: Run) -> Callable[[], str]:
        return lambda: self._target.run_tagged(experiment_id, f"{MARK}run_id", run.id)

    def _points(self, run_id: str, run: Run) -> int:
        """Copy the series; returns the number of points."""
        waiting: list[Point] = []
        total = 0
        for points in self._source.points(run):
            waiting += points
            total += len(points)
            while len(waiting) >= POINTS_MAX:
                self._log(run_id, run.id, waiting[:POINTS_MAX])
                del waiting[:POINTS_MAX]
                self._say("run", f"{run.name or run.id}: {total:,} points")
        if waiting:
            self._log(run_id, run.id, waiting)
        return total

    def _log(self, run_id: str, source_id: str, points: list[Point]) -> None:
        """Log points; those that the target refuses are left out, and no others with them."""
        try:
            self._target.log(run_id, points, {}, {})
        except (Unavailable, Unauthenticated, Limited):
            raise
        except SillError as refused:
            if len(points) == 1:
                self._leave(LeftOut(kind="point", name=f"{source_id} {points[0].key}", why=str(refused)))
                return
            middle = len(points) // 2
            self._log(run_id, source_id, points[:middle])
            self._log(run_id, source_id, points[middle:])

    def _datasets(self, run_id: str, run: Run) -> None:
        only = msgspec.structs.replace(run, inputs=(), outputs=())

        def log(each: DatasetInput) -> None:
            self._target.log_links(run_id, msgspec.structs.replace(only, datasets=(each,)))

        for each in run.datasets:
            self._attempt("dataset", f"{run.id} {each.name} {each.digest}", lambda each=each: log(each))  # type: ignore[misc]

    def _model(self, experiment_id: str, model: LoggedModel) -> None:
        if self._journal.get("model", model.id) is not None:
            return
        here = msgspec.structs.replace(
            model,
            tags=self._marked(model.tags, "model_id", model.id),
            run_id=self._journal.get("run", model.run_id) or "",
        )
        made = self._once(
            "model",
            model.id,
            lambda: self._target.make_model(experiment_id, here),
            lambda: self._target.model_tagged(experiment_id, f"{MARK}model_id", model.id),
        )
        for source_run, point in model.points:
            run_id = self._journal.get("run", source_run)
            if run_id is not None:
                self._log(run_id, source_run, [msgspec.structs.replace(point, model_id=made)])
        self._files(experiment_id, model, made)
        self._target.end_model(made, model)
        self._journal.note("model", model.id, made)

    def _link(self, run: Run) -> None:
        """Tell a run which run it belongs to, and which logged models it read and made."""
        made = self._journal.get("run", run.id)
        if made is None:
            return
        parent = self._journal.get("run", run.tags.get(PARENT, ""))
        if parent is not None:
            self._target.log(made, [], {}, {PARENT: parent})
        pairs = [(self._journal.get("model", each), step) for each, step in run.outputs]
        known = [self._journal.get("model", each) for each in run.inputs]
        inputs = tuple(each for each in known if each)
        outputs = tuple((each, step) for each, step in pairs if each)
        if inputs or outputs:
            self._target.log_links(made, msgspec.structs.replace(run, datasets=(), inputs=inputs, outputs=outputs))

    def _files(self, experiment_id: str, owner: Owner, owner_id: str) -> None:
        kind = "run" if isinstance(owner, Run) else "logged model"
        files = self._attempt(f"files of {kind}", owner.id, lambda: list(self._source.files(owner))) or []
        if not files:
            return
        base = self._target.base(experiment_id, owner_id, is_model=isinstance(owner, LoggedModel))
        for file in files:
            if self._journal.get("file", f"{owner.id}/{file.path}") is None:
                self._say("file", f"{owner.id}/{file.path}")
                self._attempt("file", f"{owner.id}/{file.path}", lambda file=file: self._file(owner, base, file))  # type: ignore[misc]

    def _file(self, owner: Owner, base: str, file: File) -> None:
        def read():  # type: ignore[no-untyped-def]
            with self._source.read(owner, file.path) as pieces:
                yield from pieces

        self._target.write(base, file.path, file.size_bytes, read)
        self._journal.note("file", f"{owner.id}/{file.path}", size=file.size_bytes, is_lasting=False)

    def _registered(self, model: RegisteredModel) -> None:
        self._say("registered model", model.name)
        there = self._target.registered(model.name)
        if there is None:
            self._journal.note("own name", model.name)
            self._target.make_registered(model)
        self._journal.note("name", model.name)
        for version in self._source.versions(model.name):
            place = f"{model.name} {version.number}"
            self._attempt("version", place, lambda version=version: self._version(version))  # type: ignore[misc]
        for alias, number in model.aliases.items():
            made = self._journal.get("version", f"{model.name}/{number}")
            if made is not None and self._journal.get("alias", f"{model.name}/{alias}") is None:
                self._target.set_alias(model.name, alias, int(made))
                self._journal.note("alias", f"{model.name}/{alias}", made)

    def _version(self, version: Version) -> None:
        source_id = f"{version.name}/{version.number}"
        if self._journal.get("version", source_id) is not None:
            return
        source = self._here(version.source)
        if source == version.source and source.startswith(PROXIED):
            self._leave(
                LeftOut(kind="files of version", name=source_id, why=f"{source} belongs to no run that was taken.")
            )
        here = msgspec.structs.replace(
            version,
            source=source,
            run_id=self._journal.get("run", version.run_id) or "",
            model_id=self._journal.get("model", version.model_id) or "",
            tags=self._marked(version.tags, "version", str(version.number)),
        )
        made = self._once(
            "version",
            source_id,
            lambda: str(self._numbered(here)),
            lambda: str(self._target.version_tagged(version.name, f"{MARK}version", str(version.number)) or ""),
        )
        self._target.end_version(msgspec.structs.replace(here, number=int(made)))
        self._journal.note("version", source_id, made)

    def _numbered(self, version: Version) -> int:
        """Make a version. Where all versions of the name are ours it gets its number: those below it were deleted."""
        made = self._target.make_version(version)
        is_ours = self._journal.get("own name", version.name) is not None
        while is_ours and made < version.number:
            following = self._target.make_version(version)
            self._target.delete_version(version.name, made)
            made = following
        return made

    def _here(self, source: str) -> str:
        """Where a version's files are in the target, by the run or logged model of the source that its address names."""
        parts = source.split("/")
        for at, part in enumerate(parts):
            for kind in ("run", "model"):
                owner_id = self._journal.get(kind, part)
                if owner_id is None:
                    continue
                if source.startswith(("runs:", "models:")):
                    return "/".join((*parts[:at], owner_id, *parts[at + 1 :]))
                if parts[at + 1 : at + 2] == ["artifacts"]:
                    base = self._target.base("", owner_id, is_model=kind == "model")
                    return "/".join((base.rstrip("/"), *parts[at + 2 :]))
        return source

    def _once(self, kind: str, source_id: str, make: Callable[[], str], find: Callable[[], str]) -> str:
        """What a thing became; it is made if it was not. One that was begun and not noted is looked for."""
        made = self._journal.get(f"{kind} made", source_id)
        if made is not None:
            return made
        begun = f"{kind} begun"
        found = find() if self._journal.get(begun, source_id) is not None else ""
        if not found:
            self._journal.note(begun, source_id)
            found = make()
        self._journal.note(f"{kind} made", source_id, found)
        return found

    def _delete(self, kind: str, source_id: str, delete: Callable[[str], None]) -> None:
        target_id = self._journal.get(kind, source_id)
        if target_id is not None and self._journal.get(f"{kind} deleted", source_id) is None:
            self._attempt(f"deletion of {kind}", source_id, lambda: delete(target_id))
            self._journal.note(f"{kind} deleted", source_id)

    def _marked(self, tags: Mapping[str, str], name: str, source_id: str) -> dict[str, str]:
        return {**tags, f"{MARK}{name}": source_id}

    def _attempt(self, kind: str, name: str, action: Callable[[], T]) -> T | None:
        """Do it; what is refused is left out with its reason, what cannot be asked ends the transfer."""
        try:
            return action()
        except (Unavailable, Unauthenticated, Limited):
            raise
        except SillError as refused:
            self._leave(LeftOut(kind=kind, name=name, why=str(refused)))
            return None

    def _leave(self, left: LeftOut) -> None:
        if left.kind in LEFT_FOR_GOOD:
            self._journal.note("left", f"{left.kind}\t{left.name}", left.why, is_lasting=False)
        self._keep(left)

    def _keep(self, left: LeftOut) -> None:
        self._left_out_count += 1
        if len(self._left_out) < LEFT_OUT_MAX:
            self._left_out.append(left)

    def _say(self, kind: str, name: str) -> None:
        self._tell(f"{kind} {name}")
