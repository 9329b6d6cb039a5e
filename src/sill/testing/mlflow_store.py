"""Makes an MLflow store with one of everything in it: a SQLite file and a folder of files, as a server would leave them.

The rows are written directly, so that a million points take seconds. Two calls with the same size make the same store.
"""

import hashlib
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START_MS = 1_700_000_000_000
KEYS = ("loss", "val/auc", "odd one")
SEED = 11
PIECE_BYTES = 1024 * 1024
INPUT = "(input_uuid, source_type, source_id, destination_type, destination_id, step) VALUES (?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Size:
    """How much there is of what.

    Attributes:
        points: of all series together.
        bytes: of all files together.
        versions: of all registered models together.
    """

    runs: int
    points: int
    bytes: int
    versions: int


def make_store(folder: Path, schema: Path, size: Size) -> Path:
    """A new store in a folder.

    Args:
        schema: a database that an MLflow server has made, whose tables are taken over.
    Returns:
        The SQLite file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mlflow.db"
    rows = sqlite3.connect(path)
    with rows:
        _copy_tables(rows, schema)
        _experiments(rows)
        for at in range(size.runs):
            _run(rows, folder, at, size)
        for at in range(0, size.runs, 4):
            _logged_model(rows, folder, at)
        _registry(rows, folder, size)
    rows.close()
    return path


def _copy_tables(rows: sqlite3.Connection, schema: Path) -> None:
    rows.execute("ATTACH DATABASE ? AS made", (f"file:{schema}?mode=ro",))
    for kind, name, text in rows.execute(
        "SELECT type, name, sql FROM made.sqlite_master WHERE sql IS NOT NULL"
    ).fetchall():
        if not name.startswith("sqlite_"):
            rows.execute(text)
        if kind == "table" and name in ("alembic_version", "workspaces"):
            rows.execute(f"INSERT INTO {name} SELECT * FROM made.{name}")  # noqa: S608  # one of the two


def _experiments(rows: sqlite3.Connection) -> None:
    named = (("Default", "active"), ("vision", "active"), ("ünï / 漢", "active"), ("given up", "deleted"))
    for at, (name, stage) in enumerate(named):
        rows.execute(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time)"
            " VALUES (?, ?, '', ?, ?, ?)",
            (at, name, stage, START_MS, START_MS),
        )
        rows.execute("INSERT INTO experiment_tags VALUES ('team', ?, ?)", (f"team {at}", at))


def _run(rows: sqlite3.Connection, folder: Path, at: int, size: Size) -> None:
    run_id, experiment_id, base = _run_id(at), at % 4, _base(folder, at)
    status = ("FINISHED", "FAILED", "RUNNING", "KILLED")[at % 7 % 4]
    is_deleted = at % 9 == 5 or experiment_id == 3
    rows.execute(
        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time,"
        " source_version, lifecycle_stage, artifact_uri, experiment_id)"
        " VALUES (?, ?, 'UNKNOWN', '', '', ?, ?, ?, ?, '', ?, ?, ?)",
        (
            run_id,
            f"run {at}",
            f"user{at % 3}",
            status,
            START_MS + at * 1_000,
            None if status == "RUNNING" else START_MS + at * 1_000 + 700,
            "deleted" if is_deleted else "active",
            str(base),
            experiment_id,
        ),
    )
    tags = {"mlflow.runName": f"run {at}", "mlflow.note.content": f"# note\n{at}", "empty": ""}
    if at >= 4 and at % 5 == 4:
        tags["mlflow.parentRunId"] = _run_id(at - 4)
    params = {"lr": f"{at / 100}", "a/b c": "ünï 漢", "long": "v" * (at % 7 * 900)}
    for table, pairs in (("tags", tags), ("params", params)):
        given = [(key, value, run_id) for key, value in pairs.items()]
        rows.executemany(f"INSERT INTO {table} (key, value, run_uuid) VALUES (?, ?, ?)", given)  # noqa: S608
    _series(rows, run_id, at, size)
    _dataset(rows, run_id, experiment_id, at)
    for name, content in _files(at, size):
        _write(base / name, content)


def _series(rows: sqlite3.Connection, run_id: str, at: int, size: Size) -> None:
    dice = random.Random(SEED + at)
    each = max(1, size.points // size.runs // len(KEYS))
    for key in KEYS:
        points = [(key, dice.gauss(0, 1), START_MS + step, run_id, step * 2 - 3, 0) for step in range(each)]
        points[-1] = (key, 0.0, START_MS + each, run_id, each * 2, 1)  # the last one is NaN
        columns = "(key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)"
        rows.executemany(f"INSERT INTO metrics {columns}", points)
        rows.execute(f"INSERT INTO latest_metrics {columns}", points[-1])


def _dataset(rows: sqlite3.Connection, run_id: str, experiment_id: int, at: int) -> None:
    dataset_id, link_id = f"d{experiment_id}", f"i{at}"
    about = (dataset_id, experiment_id, "rows", "d1", "local", '{"uri": "rows.csv"}', '{"a": 1}', None)
    rows.execute("INSERT OR IGNORE INTO datasets VALUES (?, ?, ?, ?, ?, ?, ?, ?)", about)
    link = (link_id, "DATASET", dataset_id, "RUN", run_id, 0)
    rows.execute(f"INSERT INTO inputs {INPUT}", link)
    rows.execute("INSERT INTO input_tags VALUES (?, 'mlflow.data.context', 'train')", (link_id,))


def _logged_model(rows: sqlite3.Connection, folder: Path, at: int) -> None:
    model_id, run_id, experiment_id = f"m-{at:032d}", _run_id(at), at % 4
    base = folder / "artifacts" / str(experiment_id) / "models" / model_id / "artifacts"
    _write(base / "MLmodel", iter([b"flavors: {}\n"]))
    about = (
        model_id,
        experiment_id,
        f"net {at}",
        str(base),
        START_MS + at,
        START_MS + at,
        2,
        "active",
        "agent",
        run_id,
        None,
    )
    rows.execute("INSERT INTO logged_models VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", about)
    rows.execute("INSERT INTO logged_model_params VALUES (?, ?, 'depth', ?)", (model_id, experiment_id, str(at)))
    rows.execute("INSERT INTO logged_model_tags VALUES (?, ?, 'kind', 'net')", (model_id, experiment_id))
    first = rows.execute(
        "SELECT timestamp, step, value FROM metrics WHERE run_uuid = ? AND key = 'loss' LIMIT 1", (run_id,)
    )
    at_ms, step, value = first.fetchone()
    metric = (model_id, "loss", at_ms, step, value, experiment_id, run_id, None, None, None)
    rows.execute("INSERT INTO logged_model_metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", metric)
    rows.execute(f"INSERT INTO inputs {INPUT}", (f"o{at}", "RUN_OUTPUT", run_id, "MODEL_OUTPUT", model_id, 3))


def _registry(rows: sqlite3.Connection, folder: Path, size: Size) -> None:
    """Two models; a version in the middle of the first was deleted."""
    for name in ("tree", "Big Net (v2)"):
        rows.execute(
            "INSERT INTO registered_models (name, creation_time, last_updated_time, description) VALUES (?, ?, ?, ?)",
            (name, START_MS, START_MS, f"About {name}."),
        )
        rows.execute("INSERT INTO registered_model_tags (key, value, name) VALUES ('team', 'a', ?)", (name,))
        for number in range(1, size.versions // 2 + 1):
            if (name, number) != ("tree", 2):
                _version(rows, folder, name, number, size)
        alias = (name, size.versions // 2)
        rows.execute("INSERT INTO registered_model_aliases (alias, name, version) VALUES ('champion', ?, ?)", alias)


def _version(rows: sqlite3.Connection, folder: Path, name: str, number: int, size: Size) -> None:
    at = number % size.runs
    rows.execute(
        "INSERT INTO model_versions (name, version, creation_time, last_updated_time, description, current_stage, source, run_id,"
        " status) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'READY')",
        (
            name,
            number,
            START_MS,
            START_MS,
            f"Version {number}.",
            ("None", "Staging", "Production", "Archived")[number % 4],
            f"{_base(folder, at)}/model",
            _run_id(at),
        ),
    )
    rows.execute(
        "INSERT INTO model_version_tags (key, value, name, version) VALUES ('n', ?, ?, ?)", (str(number), name, number)
    )


def _files(at: int, size: Size) -> Iterator[tuple[str, Iterator[bytes]]]:
    """A run's files: a large one, and small ones in folders."""
    yield "model/MLmodel", iter([b"flavors: {}\n"])
    yield "notes/sub folder/ünï.txt", iter([f"run {at}\n".encode()])
    yield "empty", iter([b""])
    yield "model/weights.bin", _noise(at, size.bytes // size.runs)


def _noise(at: int, count: int) -> Iterator[bytes]:
    """Bytes that no other file has."""
    block = hashlib.sha256(f"{SEED} {at}".encode()).digest() * (PIECE_BYTES // 32)
    for start in range(0, count, PIECE_BYTES):
        yield block[: min(PIECE_BYTES, count - start)]


def _write(path: Path, content: Iterator[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for piece in content:
            file.write(piece)


def _base(folder: Path, at: int) -> Path:
    return folder / "artifacts" / str(at % 4) / _run_id(at) / "artifacts"


def _run_id(at: int) -> str:
    return f"{at:032x}"
