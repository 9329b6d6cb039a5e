"""Writes a tracking server through MLflow's REST dialect: Sill, or an MLflow server."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from sill.core.errors import NotFound
from sill.transfer.rest import Rest, proxied_path, quoted
from sill.transfer.types import Experiment, LoggedModel, Point, Read, RegisteredModel, Run, Version

POINTS_MAX = 1_000
PAIRS_MAX = 50
"""Half of what one call may hold: a hundred of the longest would pass the limit on its bytes."""
BASES_MAX = 10_000
T = TypeVar("T")


class RestTarget:
    """A server that is written."""

    def __init__(self, rest: Rest) -> None:
        self.address = rest.address
        self._rest = rest
        self._bases: dict[str, str] = {}

    def experiment_named(self, name: str) -> str:
        """Its id, also if it is deleted."""
        try:
            found = self._rest.get("/experiments/get-by-name", experiment_name=name)
        except NotFound:
            return ""
        return str(found["experiment"]["experiment_id"])

    def make_experiment(self, experiment: Experiment) -> str:
        """A new experiment."""
        tags = _listed(experiment.tags)
        return str(self._rest.make("/experiments/create", name=experiment.name, tags=tags)["experiment_id"])

    def tag_experiment(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        for key, value in tags.items():
            self._rest.post("/experiments/set-experiment-tag", experiment_id=experiment_id, key=key, value=value)

    def run_tagged(self, experiment_id: str, tag: str, value: str) -> str:
        """Id of the run with that tag."""
        asked = f"tags.`{tag}` = '{value}'"
        body: dict[str, Any] = {"experiment_ids": [experiment_id], "filter": asked, "run_view_type": "ALL"}
        found = self._rest.post("/runs/search", **body, max_results=1).get("runs", ())
        return str(found[0]["info"]["run_id"]) if found else ""

    def make_run(self, experiment_id: str, run: Run) -> str:
        """A new run with its tags, which runs until it is ended."""
        made = self._rest.make(
            "/runs/create",
            experiment_id=experiment_id,
            run_name=run.name,
            user_id=run.user,
            start_time=run.start_ms,
            tags=_listed(run.tags),
        )["run"]["info"]
        self._keep_base(made["run_id"], made["artifact_uri"])
        return str(made["run_id"])

    def begin_series(self, run_id: str) -> None:
        """Nothing: a point that comes twice counts once."""

    def log(self, run_id: str, points: list[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Points, params and tags, in as many calls as the limits ask for."""
        for some in _parts(points, POINTS_MAX):
            self._rest.post("/runs/log-batch", run_id=run_id, metrics=[_wired(point) for point in some])
        for name, pairs in (("params", params), ("tags", tags)):
            for part in _parts(_listed(pairs), PAIRS_MAX):
                self._rest.post("/runs/log-batch", run_id=run_id, **{name: part})

    def log_links(self, run_id: str, run: Run) -> None:
        """Its datasets, and the logged models it read and made."""
        datasets = [
            {
                "tags": _listed(each.tags),
                "dataset": _without_empty(
                    name=each.name,
                    digest=each.digest,
                    source_type=each.source_type,
                    source=each.source,
                    schema=each.schema,
                    profile=each.profile,
                ),
            }
            for each in run.datasets
        ]
        models = [{"model_id": each} for each in run.inputs]
        if datasets or models:
            self._rest.post("/runs/log-inputs", run_id=run_id, datasets=datasets, models=models)
        if run.outputs:
            made = [{"model_id": each, "step": step} for each, step in run.outputs]
            self._rest.post("/runs/outputs", run_id=run_id, models=made)

    def end_run(self, run_id: str, run: Run) -> None:
        """Give it its state and its end."""
        ended = {"end_time": run.end_ms} if run.end_ms else {}
        self._rest.post("/runs/update", run_id=run_id, status=run.status, **ended)

    def model_tagged(self, experiment_id: str, tag: str, value: str) -> str:
        """Id of the logged model with that tag."""
        asked = f"tags.`{tag}` = '{value}'"
        found = self._rest.post("/logged-models/search", experiment_ids=[experiment_id], filter=asked, max_results=1)
        models = found.get("models", ())
        return str(models[0]["info"]["model_id"]) if models else ""

    def make_model(self, experiment_id: str, model: LoggedModel) -> str:
        """A new logged model, pending until it is ended."""
        made = self._rest.make(
            "/logged-models",
            **_without_empty(
                experiment_id=experiment_id, name=model.name, model_type=model.kind, source_run_id=model.run_id
            ),
            params=_listed(model.params),
            tags=_listed(model.tags),
        )["model"]["info"]
        self._keep_base(made["model_id"], made["artifact_uri"])
        return str(made["model_id"])

    def end_model(self, model_id: str, model: LoggedModel) -> None:
        """Give it its state."""
        if model.status in ("LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"):
            self._rest.patch(f"/logged-models/{quote(model_id)}", model_id=model_id, status=model.status)

    def base(self, experiment_id: str, owner_id: str, *, is_model: bool) -> str:
        """Address of the files of a run or logged model."""
        if owner_id not in self._bases:
            if is_model:
                info = self._rest.get(f"/logged-models/{quote(owner_id)}")["model"]["info"]
            else:
                info = self._rest.get("/runs/get", run_id=owner_id)["run"]["info"]
            self._keep_base(owner_id, info["artifact_uri"])
        return self._bases[owner_id]

    def write(self, base: str, path: str, size_bytes: int, read: Read) -> None:
        """Put a file there, through the server."""
        self._rest.put_file(f"{proxied_path(base)}/{path}", size_bytes, read)

    def registered(self, name: str) -> RegisteredModel | None:
        """A name with its aliases, if it is there."""
        try:
            found = self._rest.get("/registered-models/get", name=name)["registered_model"]
        except NotFound:
            return None
        aliases = {each["alias"]: int(each["version"]) for each in found.get("aliases") or ()}
        return RegisteredModel(name=name, description=found.get("description") or "", aliases=aliases)

    def make_registered(self, model: RegisteredModel) -> None:
        """A new name."""
        more = _without_empty(description=model.description)
        self._rest.make("/registered-models/create", name=model.name, tags=_listed(model.tags), **more)

    def version_tagged(self, name: str, tag: str, value: str) -> int:
        """Number of the version with that tag."""
        asked = f"name = {quoted(name)} AND tags.`{tag}` = '{value}'"
        found = self._rest.get("/model-versions/search", filter=asked, max_results=1).get("model_versions", ())
        return int(found[0]["version"]) if found else 0

    def make_version(self, version: Version) -> int:
        """A new version, of the next number there is."""
        texts = _without_empty(description=version.description, run_id=version.run_id, model_id=version.model_id)
        made = self._rest.make(
            "/model-versions/create",
            name=version.name,
            source=version.source,
            tags=_listed(version.tags),
            **texts,
        )
        return int(made["model_version"]["version"])

    def end_version(self, version: Version) -> None:
        """Give it its stage."""
        if version.stage != "None":
            about = {"name": version.name, "version": str(version.number), "stage": version.stage}
            self._rest.post("/model-versions/transition-stage", **about, archive_existing_versions=False)

    def delete_version(self, name: str, number: int) -> None:
        """Delete a version."""
        self._rest.delete("/model-versions/delete", name=name, version=str(number))

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Let an alias mean a version."""
        self._rest.post("/registered-models/alias", name=name, alias=alias, version=str(number))

    def delete_run(self, run_id: str) -> None:
        """Mark it deleted."""
        self._rest.post("/runs/delete", run_id=run_id)

    def delete_experiment(self, experiment_id: str) -> None:
        """Mark it deleted."""
        self._rest.post("/experiments/delete", experiment_id=experiment_id)

    def close(self) -> None:
        """Close the connections."""
        self._rest.close()

    def _keep_base(self, owner_id: str, base: str) -> None:
        if len(self._bases) >= BASES_MAX:
            self._bases.clear()
        self._bases[owner_id] = base


def _listed(pairs: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in pairs.items()]


def _without_empty(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _wired(point: Point) -> dict[str, Any]:
    """A point as MLflow's JSON has it: what JSON has no number for as a word."""
    value = point.value
    is_finite = value - value == 0
    sent: dict[str, Any] = {
        "key": point.key,
        "value": value if is_finite else "NaN" if value != value else "Infinity" if value > 0 else "-Infinity",
        "timestamp": point.at_ms,
        "step": point.step,
    }
    more = _without_empty(model_id=point.model_id, dataset_name=point.dataset_name, dataset_digest=point.dataset_digest)
    return {**sent, **more}


def _parts(values: list[T], count: int) -> Iterator[list[T]]:
    for start in range(0, len(values), count):
        yield values[start : start + count]
