"""Log from a script: `with sill.run("fit") as run: run.log_metric("loss", 0.3, step=1)`.

Inside `sill run` it is the run the script executes in; elsewhere a new one. Nothing waits for the server: what is logged
is kept on disk and sent in the background, once and in order, also when the server is away or the script is killed.
"""

import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import msgspec

from sill.core.errors import InvalidValue, SillError, every_error
from sill.runs.tracking.rules import METRICS_MAX, PARAMS_MAX, TAGS_MAX, check_batch
from sill.runs.types import Batch, Metric
from sill.safety.paths import check_relative
from sill.sdk.carrying import Answer
from sill.sdk.client import Client
from sill.sdk.journal_files import Entry
from sill.sdk.mlflow_batches import lane
from sill.sdk.spool import Spool, pieces

API = "/api/2.0/mlflow"
DEFAULT_EXPERIMENT = "default"
FILES_MAX = 10_000


class LiveRun:
    """A run that this process logs to. Made by `sill.run`; its methods may be called from any thread.

    A value outside of what is allowed raises at once, as it would with the server there; what the server refuses later
    is kept in the spool with its reason (`sill spool`).
    """

    def __init__(self, spool: Spool, project: str, run_id: str, *, is_ours_to_end: bool) -> None:
        self._spool = spool
        self._project = project
        self._given = run_id
        self._is_ours_to_end = is_ours_to_end
        self._headers = _headers(project)

    @property
    def id(self) -> str:
        """The run's id; a provisional one as long as it began while the server was away."""
        return self._spool.real_id(self._given)

    def log_metric(self, key: str, value: float, step: int = 0, timestamp_ms: int = 0) -> None:
        """Log one point; now, if no time is given."""
        self.log_metrics({key: value}, step, timestamp_ms)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0, timestamp_ms: int = 0) -> None:
        """Log one point of each metric."""
        now_ms = timestamp_ms or time.time_ns() // 1_000_000
        every = [Metric(key=key, value=float(value), step=step, timestamp_ms=now_ms) for key, value in metrics.items()]
        for at in range(0, len(every), METRICS_MAX):
            some = tuple(every[at : at + METRICS_MAX])
            check_batch(Batch(metrics=some))
            self._put("/runs/log-batch", {"metrics": [_point(each) for each in some]}, is_points=True)

    def log_param(self, key: str, value: object) -> None:
        """Set a param; each can be set once."""
        self.log_params({key: value})

    def log_params(self, params: Mapping[str, object]) -> None:
        """Set params; each can be set once."""
        self._put_texts("params", {key: str(value) for key, value in params.items()}, PARAMS_MAX)

    def set_tag(self, key: str, value: object) -> None:
        """Set a tag, new or changed."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags, new or changed."""
        self._put_texts("tags", {key: str(value) for key, value in tags.items()}, TAGS_MAX)

    def log_artifact(self, source: str | Path, path: str = "") -> None:
        """Keep a file, or all files of a folder, with the run.

        Args:
            path: under which name or folder; the source's own name when empty.
        Raises:
            InvalidValue: there is no such file, or there are too many.
        """
        place = Path(source)
        if place.is_dir():
            files = sorted(each for each in place.rglob("*") if each.is_file())
            if len(files) > FILES_MAX:
                raise InvalidValue(
                    f"{place} holds {len(files)} files; {FILES_MAX} are allowed.", fix="Pack some together."
                )
            for file in files:
                self._put_file(f"{path or place.name}/{file.relative_to(place).as_posix()}", pieces(file))
        elif place.is_file():
            self._put_file(path or place.name, pieces(place))
        else:
            raise InvalidValue(f"there is no file {str(place)!r}.", fix="Give the path of a file or folder.")

    def log_text(self, text: str, path: str) -> None:
        """Keep a text as an artifact."""
        self._put_file(path, iter([text.encode()]))

    def flush(self, timeout_s: float = 60.0) -> bool:
        """Wait until the server has everything; False if the time passed before."""
        return self._spool.flush(timeout_s)

    def end(self, state: str = "FINISHED") -> None:
        """Say that the run is over (FINISHED, FAILED or KILLED), and send what is left while the server answers.

        Inside `sill run` the run is over when the script is.
        """
        if self._is_ours_to_end:
            self._put("/runs/update", {"status": state, "end_time": time.time_ns() // 1_000_000})
        self._spool.close()

    def __enter__(self) -> "LiveRun":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end("FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")

    def _put_texts(self, field: str, texts: dict[str, str], most: int) -> None:
        every = list(texts.items())
        for at in range(0, len(every), most):
            some = dict(every[at : at + most])
            check_batch(Batch(params=some) if field == "params" else Batch(tags=some))
            self._put("/runs/log-batch", {field: [{"key": key, "value": value} for key, value in some.items()]})

    def _put(self, path: str, message: dict[str, Any], *, is_points: bool = False) -> None:
        body = msgspec.json.encode({"run_id": self._given, **message})
        track = lane(self._given, API + path, self._headers) if is_points else ""
        self._spool.put(_entry("POST", API + path, self._headers, body, lane=track))

    def _put_file(self, path: str, content: Iterator[bytes]) -> None:
        check_relative(path)
        target = f"/api/v1/projects/{self._project}/runs/{self._given}/artifacts/{quote(path)}"
        self._spool.put_file(_entry("PUT", target, {"Content-Type": "application/octet-stream"}), content)


def run(
    name: str = "",
    experiment: str = "",
    *,
    project: str = "",
    tags: Mapping[str, str] | None = None,
    client: Client | None = None,
) -> LiveRun:
    """The run to log to. It does not fail because the server is away.

    Args:
        name, experiment: of a new run; inside `sill run` the run has both already.
    Raises:
        SillError: the server refuses to begin it.
    """
    here = client or Client(project=project)
    spool = Spool(here)
    own = os.environ.get("SILL_RUN_ID", "")
    if own:
        live = LiveRun(spool, here.project, own, is_ours_to_end=False)
        if tags:
            live.set_tags(tags)
        return live
    headers = _headers(here.project)
    experiment_id = _experiment(spool, headers, experiment) if experiment not in ("", DEFAULT_EXPERIMENT) else "0"
    run_id = spool.new_id()
    begun = {
        "experiment_id": experiment_id,
        "run_name": name,
        "user_id": os.environ.get("USER", ""),
        "start_time": time.time_ns() // 1_000_000,
        "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()],
    }
    body = msgspec.json.encode(begun)
    _check(spool.ask(_entry("POST", f"{API}/runs/create", headers, body, makes=run_id)))
    return LiveRun(spool, here.project, run_id, is_ours_to_end=True)


def _experiment(spool: Spool, headers: dict[str, str], name: str) -> str:
    """The id of the experiment of this name, which is made if it is not there; a provisional one while nobody answers."""
    given = spool.new_id()
    answer = spool.ask(
        _entry("POST", f"{API}/experiments/create", headers, msgspec.json.encode({"name": name}), makes=given)
    )
    if spool.real_id(given) == given:
        _check(answer)
    return given


def _check(answer: Answer | None) -> None:
    """Raise what the server said, if it refused."""
    if answer is None or answer.is_success:
        return
    try:
        said = msgspec.json.decode(answer.body, type=dict[str, Any])
    except msgspec.DecodeError:
        said = {}
    kinds = {kind.status: kind for kind in every_error().values()}
    raise kinds.get(answer.status, SillError)(str(said.get("message", f"the server answered {answer.status}.")))


def _entry(
    method: str, path: str, headers: dict[str, str], body: bytes = b"", *, lane: str = "", makes: str = ""
) -> Entry:
    return Entry(
        method=method, path=path, headers=headers, body=body, lane=lane, makes=makes, at_us=time.time_ns() // 1_000
    )


def _headers(project: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "X-MLFLOW-WORKSPACE": project}


def _point(metric: Metric) -> dict[str, Any]:
    value: float | str = metric.value
    if not math.isfinite(metric.value):
        value = "NaN" if math.isnan(metric.value) else "Infinity" if metric.value > 0 else "-Infinity"
    return {"key": metric.key, "value": value, "step": metric.step, "timestamp": metric.timestamp_ms}
