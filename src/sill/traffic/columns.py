"""Request rows as lake columns, and back: which column holds what. Who writes the table is left to `service`."""

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from sill.core.names import NAME_LENGTH_MAX
from sill.traffic.types import RequestRow

FEATURE = "f_"
_NOT_IN_COLUMN = re.compile(r"[^A-Za-z0-9_]")


def table_name(kind: str, endpoint: str) -> str:
    """`requests_ENDPOINT` or `labels_ENDPOINT`; a long name is cut and told apart by its digest."""
    name = f"{kind}_{endpoint}"
    if len(name) <= NAME_LENGTH_MAX:
        return name
    return f"{name[: NAME_LENGTH_MAX - 9]}-{sha256(name.encode()).hexdigest()[:8]}"


def feature_column(name: str) -> str:
    """`f_<name>`, with what no column may hold replaced by `_`."""
    return (FEATURE + _NOT_IN_COLUMN.sub("_", name))[:NAME_LENGTH_MAX]


def to_arrow(rows: Sequence[RequestRow], *, with_features: bool = True) -> Any:
    """The rows as an Arrow table, one column for each feature that occurs.

    Args:
        with_features: false puts them as JSON into one column, for tables whose columns hold another type.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {
        "request_id": pa.array([row.request_id for row in rows], pa.string()),
        "at": pa.array([row.at_us for row in rows], pa.timestamp("us", tz="UTC")),
        "revision": pa.array([row.revision for row in rows], pa.int64()),
        "model_version": pa.array([row.model_version for row in rows], pa.int64()),
        "is_shadow": pa.array([row.is_shadow for row in rows], pa.bool_()),
        "status": pa.array([row.status for row in rows], pa.int64()),
        "latency_ms": pa.array([row.latency_ms for row in rows], pa.float64()),
        "prediction": pa.array([row.prediction for row in rows], pa.string()),
        "score": pa.array([row.score for row in rows], pa.float64()),
        "entity": pa.array([msgspec.json.encode(row.entity).decode() for row in rows], pa.string()),
        "error": pa.array([row.error for row in rows], pa.string()),
    }
    if not with_features:
        texts = [msgspec.json.encode(row.features).decode() for row in rows]
        columns["features_json"] = pa.array(texts, pa.string())
        return pa.table(columns)
    for name, values in _by_feature(rows):
        columns.setdefault(feature_column(name), _column(values))
    return pa.table(columns)


def labels_to_arrow(labels: Sequence[tuple[str, str, bool]], at_us: int) -> Any:
    """(request id, label, whether its request is known) as an Arrow table."""
    import pyarrow as pa

    return pa.table(
        {
            "request_id": pa.array([one[0] for one in labels], pa.string()),
            "label": pa.array([one[1] for one in labels], pa.string()),
            "is_joined": pa.array([one[2] for one in labels], pa.bool_()),
            "at": pa.array([at_us] * len(labels), pa.timestamp("us", tz="UTC")),
        }
    )


def feedback(requests: Any, labels: Any, label: str) -> Any:
    """Features, entity columns, request id and label of every labelled live request, each request once, its last label.

    Args:
        requests: the lake table of requests, Arrow.
        labels: the lake table of labels, Arrow.
        label: name of the label's column.
    """
    import pyarrow as pa

    truth = dict(zip(labels["request_id"].to_pylist(), labels["label"].to_pylist(), strict=True))
    ids, shadows, statuses = (requests[name].to_pylist() for name in ("request_id", "is_shadow", "status"))
    place = {
        request_id: row
        for row, (request_id, is_shadow, status) in enumerate(zip(ids, shadows, statuses, strict=True))
        if request_id in truth and not is_shadow and status == 200
    }
    kept = requests.take(pa.array(list(place.values()), pa.int64())).sort_by("at")
    columns: dict[str, Any] = {"request_id": kept["request_id"], "at_us": kept["at"].cast(pa.int64())}
    entities = [msgspec.json.decode(text, type=dict[str, str]) for text in kept["entity"].to_pylist()]
    for name in dict.fromkeys(name for entity in entities for name in entity):
        columns[name] = pa.array([entity.get(name) for entity in entities], pa.string())
    for name in kept.column_names:
        if name.startswith(FEATURE):
            columns[name.removeprefix(FEATURE)] = kept[name]
    columns[label] = pa.array([truth[request_id] for request_id in kept["request_id"].to_pylist()], pa.string())
    return pa.table(columns)


def no_feedback(label: str) -> Any:
    """The answer when nothing was labelled yet."""
    import pyarrow as pa

    return pa.table(
        {"request_id": pa.array([], pa.string()), "at_us": pa.array([], pa.int64()), label: pa.array([], pa.string())}
    )


def _column(values: Sequence[float | str | None]) -> Any:
    """Numbers; or texts, if there is one among them."""
    import pyarrow as pa

    try:
        return pa.array(values, pa.float64())
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _by_feature(rows: Sequence[RequestRow]) -> Iterator[tuple[str, Sequence[float | str | None]]]:
    """The values of each feature that occurs, by row; None where a row has none."""
    names = tuple(rows[0].features) if rows else ()
    if all(tuple(row.features) == names for row in rows):
        yield from zip(names, zip(*[row.features.values() for row in rows], strict=True), strict=True)
        return
    for name in dict.fromkeys(name for row in rows for name in row.features):
        yield name, [row.features.get(name) for row in rows]
