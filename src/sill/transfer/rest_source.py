"""Reads a tracking server through MLflow's REST dialect: an MLflow server, or Sill itself."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote

from sill.core.errors import SillError
from sill.transfer.rest import FILES, PROXIED, Rest, proxied_path, quoted
from sill.transfer.types import (
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

PAGE = 1_000
RUNS_PAGE = 200
POINTS_PAGE = 25_000
LOGGED_MODELS_PAGE = 50
REGISTRY_PAGE = 100


class RestSource:
    """A server that is read."""

    def __init__(self, rest: Rest) -> None:
        self.address = rest.address
        self._rest = rest

    def experiments(self) -> Iterator[Experiment]:
        """All, by id."""
        body = {"max_results": PAGE, "view_type": "ALL", "order_by": ["experiment_id ASC"]}
        for each in self._pages("/experiments/search", "experiments", body):
            yield Experiment(
                id=each["experiment_id"],
                name=each["name"],
                tags=_pairs(each.get("tags")),
                is_deleted=each.get("lifecycle_stage") == "deleted",
            )

    def runs(self, experiment_id: str) -> Iterator[Run]:
        """All of an experiment."""
        body = {
            "experiment_ids": [experiment_id],
            "run_view_type": "ALL",
            "order_by": ["attributes.start_time ASC"],
            "max_results": RUNS_PAGE,
        }
        for each in self._pages("/runs/search", "runs", body):
            yield _run(each)

    def points(self, run: Run) -> Iterator[list[Point]]:
        """One series after another, a page at a time."""
        for key in run.keys:
            token = None
            while True:
                asked = {"run_id": run.id, "metric_key": key, "max_results": POINTS_PAGE, "page_token": token}
                page = self._rest.get("/metrics/get-history", **asked)
                yield [_point(each) for each in page.get("metrics", ())]
                token = page.get("next_page_token")
                if not token:
                    break

    def logged_models(self, experiment_id: str) -> Iterator[LoggedModel]:
        """All of an experiment; none from a server that has none yet."""
        by = [{"field_name": "creation_timestamp", "ascending": True}]
        body = {"experiment_ids": [experiment_id], "max_results": LOGGED_MODELS_PAGE, "order_by": by}
        for each in self._pages("/logged-models/search", "models", body):
            yield _logged_model(each)

    def files(self, owner: Owner) -> Iterator[File]:
        """All its files, folder by folder."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            for each in self._listed(owner, folder):
                if each.get("is_dir"):
                    waiting.append(each["path"])
                else:
                    yield File(path=each["path"], size_bytes=int(each.get("file_size") or 0))

    def read(self, owner: Owner, path: str) -> AbstractContextManager[Iterator[bytes]]:
        """A file's bytes."""
        if owner.base.startswith(PROXIED):
            return self._rest.open(f"{FILES}/{quote(f'{proxied_path(owner.base)}/{path}')}")
        if isinstance(owner, Run):
            return self._rest.open("/get-artifact", path=path, run_uuid=owner.id)
        place = f"/ajax-api/2.0/mlflow/logged-models/{quote(owner.id)}/artifacts/files"
        return self._rest.open(place, artifact_file_path=path)

    def registered_models(self) -> Iterator[RegisteredModel]:
        """All names."""
        for each in self._asked("/registered-models/search", "registered_models"):
            yield RegisteredModel(
                name=each["name"],
                description=each.get("description") or "",
                tags=_pairs(each.get("tags")),
                aliases={alias["alias"]: int(alias["version"]) for alias in each.get("aliases") or ()},
            )

    def versions(self, name: str) -> Iterator[Version]:
        """All of a name, by number."""
        found = self._asked("/model-versions/search", "model_versions", filter=f"name = {quoted(name)}")
        for each in sorted(found, key=lambda each: int(each["version"])):
            yield Version(
                name=name,
                number=int(each["version"]),
                source=each.get("source") or "",
                description=each.get("description") or "",
                run_id=each.get("run_id") or "",
                model_id=each.get("model_id") or "",
                stage=each.get("current_stage") or "None",
                tags=_pairs(each.get("tags")),
            )

    def left_out(self) -> Iterator[LeftOut]:
        """That traces stay behind, if there are any."""
        ids = [each.id for each in self.experiments()]
        locations = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": each}} for each in ids[:PAGE]]
        try:
            found = self._rest.post("/traces/search", locations=locations, max_results=1)
        except SillError:
            return  # an older server has none
        if found.get("traces"):
            yield LeftOut(kind="traces", name="all", why="Traces and their assessments are not carried over.")

    def close(self) -> None:
        """Close the connections."""
        self._rest.close()

    def _listed(self, owner: Owner, folder: str) -> Iterator[dict[str, Any]]:
        """A folder's entries."""
        is_run, token = isinstance(owner, Run), None
        while True:
            asked: dict[str, Any] = {"page_token": token}
            if is_run:
                page = self._rest.get("/artifacts/list", run_id=owner.id, path=folder or None, **asked)
            else:
                place = f"/logged-models/{quote(owner.id)}/artifacts/directories"
                page = self._rest.get(place, artifact_directory_path=folder or None, **asked)
            yield from page.get("files", ())
            token = page.get("next_page_token")
            if not token:
                return

    def _pages(self, path: str, name: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        token = None
        while True:
            page = self._rest.post(path, **body, **({"page_token": token} if token else {}))
            yield from page.get(name, ())
            token = page.get("next_page_token")
            if not token:
                return

    def _asked(self, path: str, name: str, **query: Any) -> Iterator[dict[str, Any]]:
        token = None
        while True:
            page = self._rest.get(path, max_results=REGISTRY_PAGE, page_token=token, **query)
            yield from page.get(name, ())
            token = page.get("next_page_token")
            if not token:
                return


def _pairs(found: Any) -> dict[str, str]:
    return {each["key"]: each.get("value", "") for each in found or ()}


def _run(found: dict[str, Any]) -> Run:
    info, data = found["info"], found.get("data", {})
    inputs = found.get("inputs", {})
    return Run(
        id=info["run_id"],
        experiment_id=info["experiment_id"],
        name=info.get("run_name") or "",
        user=info.get("user_id") or "",
        status=info.get("status") or "RUNNING",
        start_ms=int(info.get("start_time") or 0),
        end_ms=int(info.get("end_time") or 0),
        base=info.get("artifact_uri") or "",
        is_deleted=info.get("lifecycle_stage") == "deleted",
        params=_pairs(data.get("params")),
        tags=_pairs(data.get("tags")),
        keys=tuple(each["key"] for each in data.get("metrics") or ()),
        datasets=tuple(_dataset(each) for each in inputs.get("dataset_inputs") or ()),
        inputs=tuple(each["model_id"] for each in inputs.get("model_inputs") or ()),
        outputs=tuple(
            (each["model_id"], int(each.get("step") or 0))
            for each in found.get("outputs", {}).get("model_outputs") or ()
        ),
    )


def _dataset(found: dict[str, Any]) -> DatasetInput:
    told = found["dataset"]
    texts = {name: told.get(name) or "" for name in ("name", "digest", "source_type", "source", "schema", "profile")}
    return DatasetInput(**texts, tags=_pairs(found.get("tags")))


def _point(found: dict[str, Any]) -> Point:
    return Point(
        key=found["key"],
        value=float(found.get("value", 0.0)),
        at_ms=int(found.get("timestamp") or 0),
        step=int(found.get("step") or 0),
        model_id=found.get("model_id") or "",
        dataset_name=found.get("dataset_name") or "",
        dataset_digest=found.get("dataset_digest") or "",
    )


def _logged_model(found: dict[str, Any]) -> LoggedModel:
    info, data = found["info"], found.get("data", {})
    return LoggedModel(
        id=info["model_id"],
        experiment_id=info["experiment_id"],
        name=info.get("name") or "",
        kind=info.get("model_type") or "",
        status=info.get("status") or "LOGGED_MODEL_READY",
        run_id=info.get("source_run_id") or "",
        base=info.get("artifact_uri") or "",
        params=_pairs(data.get("params")),
        tags=_pairs(info.get("tags")),
        points=tuple((each.get("run_id") or "", _point(each)) for each in data.get("metrics") or ()),
    )
