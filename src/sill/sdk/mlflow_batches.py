"""Points of one run that wait beside each other, as one `log-batch` of MLflow's protocol instead of many calls.

The numbers are copied letter by letter: nothing is read and written again.
"""

from collections.abc import Sequence

import msgspec

from sill.sdk.journal_files import Entry
from sill.sdk.sending import Parcel, pack_one

METRICS_MAX = 1_000
BYTES_MAX = 512 * 1024
LOG_METRIC, LOG_BATCH = "/runs/log-metric", "/runs/log-batch"


class Point(msgspec.Struct, omit_defaults=True):
    """A metric, each field as it was written."""

    key: msgspec.Raw = msgspec.Raw()
    value: msgspec.Raw = msgspec.Raw()
    timestamp: msgspec.Raw = msgspec.Raw()
    step: msgspec.Raw = msgspec.Raw()
    model_id: msgspec.Raw = msgspec.Raw()
    dataset_name: msgspec.Raw = msgspec.Raw()
    dataset_digest: msgspec.Raw = msgspec.Raw()


class _Points(msgspec.Struct):
    metrics: list[msgspec.Raw] = []


_point = msgspec.json.Decoder(Point)
_points = msgspec.json.Decoder(_Points)


def lane(run_id: str, path: str, headers: dict[str, str]) -> str:
    """Points of the same run, sent to the same place, may travel together."""
    prefix = path.rpartition("/runs/")[0]
    return f"{prefix} {headers.get('X-MLFLOW-WORKSPACE', '')} {run_id}"


def pack(entries: Sequence[Entry]) -> Parcel:
    """As many of the neighbours as a batch may hold. One by itself is sent as it came."""
    first = entries[0]
    if not first.lane or len(entries) == 1:
        return pack_one(entries)
    taken: list[bytes] = []
    size = count = 0
    for entry in entries:
        points = _points_of(entry)
        size += sum(map(len, points))
        if count and (len(taken) + len(points) > METRICS_MAX or size > BYTES_MAX):
            break
        taken += points
        count += 1
    if count == 1:
        return pack_one(entries)
    run_id = msgspec.json.encode(first.lane.rpartition(" ")[2])
    body = b'{"run_id":' + run_id + b',"metrics":[' + b",".join(taken) + b"]}"
    path = first.path.replace(LOG_METRIC, LOG_BATCH)
    return Parcel(count=count, method="POST", path=path, headers=first.headers, body=body)


def _points_of(entry: Entry) -> list[bytes]:
    if LOG_METRIC in entry.path:
        return [msgspec.json.encode(_point.decode(entry.body))]
    return [bytes(point) for point in _points.decode(entry.body).metrics]
