"""The `run` a user's function gets: it logs metrics, params and files, and prints. Points are sent in batches."""

import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sill.core.errors import InvalidValue
from sill.runs.types import Batch, Metric
from sill.safety.paths import check_relative

METRICS_PER_BATCH_MAX = 1_000
BATCH_S_MAX = 2.0
METRICS_KEPT_MAX = 10_000
"""Points a trial may log; the rest are left out, for a trial is recorded whole at its end."""


class RunRecorder:
    """What a function uses to leave traces of what it does.

    Args:
        run_id: of the run it is part of.
        send: takes a batch that is complete; None keeps everything for `batch`.
        params: what the function was called with.
    """

    def __init__(self, run_id: str, send: Callable[[Batch], None] | None, params: Mapping[str, Any], seed: int) -> None:
        self.id = run_id
        self.params = dict(params)
        self.seed = seed
        self._send = send
        self._metrics: list[Metric] = []
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._sent_s = time.monotonic()

    def log_metric(self, key: str, value: float, step: int = 0) -> None:
        """Log one point of a series. NaN and infinite values are left out, with a line that says so."""
        number = float(value)
        if not math.isfinite(number):
            self.info(f"{key} is {number} at step {step}: not logged")
            return
        if self._send is None and len(self._metrics) >= METRICS_KEPT_MAX:
            return
        self._metrics.append(Metric(key=key, value=number, step=step, timestamp_ms=time.time_ns() // 1_000_000))
        is_late = time.monotonic() - self._sent_s > BATCH_S_MAX
        if self._send is not None and (len(self._metrics) >= METRICS_PER_BATCH_MAX or is_late):
            self.flush()

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log one point of several series."""
        for key, value in metrics.items():
            self.log_metric(key, value, step)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters, as texts."""
        self._params.update({name: str(value) for name, value in params.items()})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags, as texts."""
        self._tags.update({name: str(value) for name, value in tags.items()})

    def log_artifact(self, path: str, content: bytes | str | Path | None = None) -> None:
        """Leave a file with the run.

        Args:
            path: its name there, relative.
            content: bytes, text, or a file to copy; the file at `path` itself when None.
        Raises:
            InvalidValue: the path is absolute or leads out.
        """
        target = outputs_folder() / check_relative(path)
        source = Path(path) if content is None else content
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, Path):
            if not source.is_file():
                raise InvalidValue(f"there is no file {str(source)!r} to log as an artifact.", field="path")
            shutil.copyfile(source, target)
        else:
            target.write_bytes(source.encode() if isinstance(source, str) else source)

    def info(self, text: str) -> None:
        """Print a line; it goes to the run's log."""
        print(text, flush=True)

    def batch(self) -> Batch:
        """Everything that was logged and not sent."""
        taken = Batch(metrics=tuple(self._metrics), params=dict(self._params), tags=dict(self._tags))
        self._metrics, self._params, self._tags = [], {}, {}
        return taken

    def flush(self) -> None:
        """Send what waits."""
        self._sent_s = time.monotonic()
        if self._send is not None and (self._metrics or self._params or self._tags):
            self._send(self.batch())


def outputs_folder() -> Path:
    """The folder whose files the engine keeps as the run's artifacts."""
    folder = Path(os.environ.get("SILL_RUN_FOLDER") or ".") / "outputs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_json(path: str, value: Any) -> None:
    """Leave a value as a JSON artifact."""
    target = outputs_folder() / check_relative(path)
    target.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2))
