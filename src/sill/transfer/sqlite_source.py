"""Reads the SQLite file of an MLflow server, without MLflow. Tables and columns that an older one lacks are empty."""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

from sill.core.errors import InvalidValue, NotFound
from sill.transfer.file_layout import LOGGED_MODEL_STATUSES
from sill.transfer.local_files import LocalFiles
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

POINTS_PAGE = 10_000
WORKSPACE = "default"
Row = sqlite3.Row


class SqliteSource:
    """A file that is read; its server may run meanwhile.

    Args:
        path: the file.
        artifacts: the folder that the server keeps files in (its --artifacts-destination).
    Raises:
        NotFound: there is no such file.
        InvalidValue: it is no MLflow store.
    """

    def __init__(self, path: Path, artifacts: Path | None = None) -> None:
        if not path.is_file():
            raise NotFound(
                f"there is no file {str(path)!r}.", fix="Give the path of MLflow's database, often mlflow.db."
            )
        self.address = f"sqlite:///{path.absolute()}"
        self._rows = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        self._rows.row_factory = Row
        self._files = LocalFiles([path.absolute().parent], artifacts)
        try:
            self._rows.execute("PRAGMA trusted_schema = OFF")
            self._rows.execute("PRAGMA query_only = ON")
            self._names = {row[0] for row in self._rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except sqlite3.DatabaseError as wrong:
            raise InvalidValue(f"{str(path)!r} is no SQLite file ({wrong}).", fix="Give MLflow's database.") from wrong
        if not {"experiments", "runs", "metrics"} <= self._names:
            raise InvalidValue(
                f"{str(path)!r} has no tables of MLflow's.", fix="Give the database of an MLflow server."
            )
        self._columns = cache(self._columns_of)

    def experiments(self) -> Iterator[Experiment]:
        """All, by id."""
        for row in self._all("experiments", "", order="experiment_id", in_workspace=True):
            yield Experiment(
                id=str(row["experiment_id"]),
                name=row["name"],
                tags=self._pairs("experiment_tags", "experiment_id", row["experiment_id"]),
                is_deleted=row["lifecycle_stage"] == "deleted",
            )

    def runs(self, experiment_id: str) -> Iterator[Run]:
        """All of an experiment, by their start."""
        for row in self._all("runs", "experiment_id = ?", int(experiment_id), order="start_time, run_uuid"):
            yield self._run(row)

    def points(self, run: Run) -> Iterator[list[Point]]:
        """One series after another."""
        for key in run.keys:
            found = self._rows.execute(
                "SELECT value, timestamp, step, is_nan FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY timestamp, step",
                (run.id, key),
            )
            while rows := found.fetchmany(POINTS_PAGE):
                yield [
                    Point(key=key, value=float("nan") if is_nan else value, at_ms=at_ms, step=step)
                    for value, at_ms, step, is_nan in rows
                ]

    def logged_models(self, experiment_id: str) -> Iterator[LoggedModel]:
        """All of an experiment that are not deleted."""
        found = self._all(
            "logged_models", "experiment_id = ?", int(experiment_id), order="creation_timestamp_ms, model_id"
        )
        for row in found:
            if row["lifecycle_stage"] != "deleted":
                yield self._logged_model(row)

    def files(self, owner: Owner) -> Iterator[File]:
        """All its files."""
        return self._files.files(owner.base)

    def read(self, owner: Owner, path: str) -> AbstractContextManager[Iterator[bytes]]:
        """A file's bytes."""
        return self._files.read(owner.base, path)

    def registered_models(self) -> Iterator[RegisteredModel]:
        """All names."""
        for row in self._all("registered_models", "", order="name", in_workspace=True):
            name = row["name"]
            yield RegisteredModel(
                name=name,
                description=row["description"] or "",
                tags=self._pairs("registered_model_tags", "name", name),
                aliases={
                    each["alias"]: int(each["version"])
                    for each in self._all("registered_model_aliases", "name = ?", name, in_workspace=True)
                },
            )

    def versions(self, name: str) -> Iterator[Version]:
        """All of a name that are not deleted, by number."""
        for row in self._all("model_versions", "name = ?", name, order="version", in_workspace=True):
            if row["current_stage"] == "Deleted_Internal":
                continue
            tags = self._all("model_version_tags", "name = ? AND version = ?", name, row["version"], in_workspace=True)
            yield Version(
                name=name,
                number=int(row["version"]),
                source=row["source"] or "",
                description=row["description"] or "",
                run_id=row["run_id"] or "",
                model_id=self._model_id(row),
                stage=row["current_stage"] or "None",
                tags={each["key"]: each["value"] or "" for each in tags},
            )

    def left_out(self) -> Iterator[LeftOut]:
        """How many traces there are, and what lies in other workspaces."""
        if "trace_info" in self._names:
            count = self._rows.execute("SELECT count(*) FROM trace_info").fetchone()[0]
            if count:
                yield LeftOut(kind="traces", name="all", why=f"{count} traces are not carried over.")
        if "workspace" in self._columns("experiments"):
            other = "SELECT workspace, count(*) FROM experiments WHERE workspace <> ? GROUP BY workspace"
            for name, count in self._rows.execute(other, (WORKSPACE,)):
                why = f"{count} experiments of another workspace; give the server's address of that workspace."
                yield LeftOut(kind="workspace", name=name, why=why)

    def close(self) -> None:
        """Let go of the file."""
        self._rows.close()

    def _all(self, table: str, where: str, *values: Any, order: str = "", in_workspace: bool = False) -> list[Row]:
        """Rows of a table; none where there is no such table."""
        if table not in self._names:
            return []
        asked = [where] if where else []
        if in_workspace and "workspace" in self._columns(table):
            asked.append("workspace = ?")
            values = (*values, WORKSPACE)
        condition = f"WHERE {' AND '.join(asked)}" if asked else ""
        ordered = f"ORDER BY {order}" if order else ""
        # Only names of ours stand in the text; what is looked for goes beside it.
        return list(self._rows.execute(f"SELECT * FROM {table} {condition} {ordered}", values))  # noqa: S608

    def _columns_of(self, table: str) -> set[str]:
        return {row[1] for row in self._rows.execute(f"PRAGMA table_info({table})")}

    def _pairs(self, table: str, column: str, value: Any) -> dict[str, str]:
        rows = self._all(table, f"{column} = ?", value, in_workspace=column == "name")
        return {row["key"]: row["value"] or "" for row in rows}

    def _run(self, row: Row) -> Run:
        run_id = row["run_uuid"]
        keys = self._rows.execute("SELECT DISTINCT key FROM latest_metrics WHERE run_uuid = ? ORDER BY key", (run_id,))
        read = self._all("inputs", "destination_id = ?", run_id)
        made = self._all("inputs", "source_id = ? AND source_type = 'RUN_OUTPUT'", run_id)
        return Run(
            id=run_id,
            experiment_id=str(row["experiment_id"]),
            name=row["name"] or "",
            user=row["user_id"] or "",
            status=row["status"] or "RUNNING",
            start_ms=int(row["start_time"] or 0),
            end_ms=int(row["end_time"] or 0),
            base=row["artifact_uri"] or "",
            is_deleted=row["lifecycle_stage"] == "deleted",
            params=self._pairs("params", "run_uuid", run_id),
            tags=self._pairs("tags", "run_uuid", run_id),
            keys=tuple(key for (key,) in keys),
            datasets=tuple(each for link in read if link["source_type"] == "DATASET" for each in self._dataset(link)),
            inputs=tuple(
                link["destination_id"]
                for link in self._all("inputs", "source_id = ? AND source_type = 'RUN_INPUT'", run_id)
            ),
            outputs=tuple((link["destination_id"], int(link["step"] or 0)) for link in made),
        )

    def _dataset(self, link: Row) -> Iterator[DatasetInput]:
        tags = {row["name"]: row["value"] for row in self._all("input_tags", "input_uuid = ?", link["input_uuid"])}
        for row in self._all("datasets", "dataset_uuid = ?", link["source_id"]):
            yield DatasetInput(
                name=row["name"],
                digest=row["digest"],
                source_type=row["dataset_source_type"],
                source=row["dataset_source"],
                schema=row["dataset_schema"] or "",
                profile=row["dataset_profile"] or "",
                tags=tags,
            )

    def _logged_model(self, row: Row) -> LoggedModel:
        model_id, status = row["model_id"], row["status"]
        is_known = isinstance(status, int) and 0 <= status < len(LOGGED_MODEL_STATUSES)
        params = self._all("logged_model_params", "model_id = ?", model_id)
        tags = self._all("logged_model_tags", "model_id = ?", model_id)
        return LoggedModel(
            id=model_id,
            experiment_id=str(row["experiment_id"]),
            name=row["name"],
            kind=row["model_type"] or "",
            status=LOGGED_MODEL_STATUSES[status] if is_known else str(status),
            run_id=row["source_run_id"] or "",
            base=row["artifact_location"] or "",
            params={each["param_key"]: each["param_value"] for each in params},
            tags={each["tag_key"]: each["tag_value"] for each in tags},
            points=tuple(
                (each["run_id"], _model_point(each))
                for each in self._all("logged_model_metrics", "model_id = ?", model_id)
            ),
        )

    def _model_id(self, row: Row) -> str:
        """The logged model of a version: its source names it (`models:/m-…`)."""
        source = row["source"] or ""
        return source.removeprefix("models:/") if source.startswith("models:/m-") else ""


def _model_point(row: Row) -> Point:
    value = row["metric_value"]
    return Point(
        key=row["metric_name"],
        value=float("nan") if value is None else value,
        at_ms=row["metric_timestamp_ms"],
        step=row["metric_step"],
        dataset_name=row["dataset_name"] or "",
        dataset_digest=row["dataset_digest"] or "",
    )
