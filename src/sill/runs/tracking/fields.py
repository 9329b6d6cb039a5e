"""What of runs can be searched and ordered by, in MLflow's words, and where it lies in the tables."""

from sill.runs.tracking.conditions import Part, joined, text_part, time_part
from sill.runs.tracking.filters import LISTS, NULLS, TEXTS, Clause, Entity, Fields, Key

METRIC, PARAM, TAG, ATTRIBUTE, DATASET = "metric", "parameter", "tag", "attribute", "dataset"
TIMES = {"start_time": "r.started_us", "end_time": "r.ended_us"}
STATUS = {
    "queued": "SCHEDULED",
    "running": "RUNNING",
    "finished": "FINISHED",
    "failed": "FAILED",
    "cancelled": "KILLED",
}
"""MLflow's word for each state of a run."""

_start, _name = Key("start_time", is_number=True), Key("run_name")
RUN_FIELDS = Fields(
    (
        Entity(METRIC, frozenset({"metric", "metrics"}), is_number=True),
        Entity(PARAM, frozenset({"parameter", "parameters", "param", "params"}), operators=TEXTS | NULLS),
        Entity(TAG, frozenset({"tag", "tags"}), operators=TEXTS | NULLS),
        Entity(
            ATTRIBUTE,
            frozenset({"attribute", "attributes", "attr", "run"}),
            keys={
                "run_id": Key("run_id", takes_list=True),
                "run_name": _name,
                **dict.fromkeys(("run name", "Run name", "Run Name"), _name),
                "user_id": Key("user_id"),
                "status": Key("status"),
                "artifact_uri": Key("artifact_uri"),
                "start_time": _start,
                **dict.fromkeys(("created", "Created"), _start),
                "end_time": Key("end_time", is_number=True),
            },
        ),
        Entity(
            DATASET,
            frozenset({"dataset", "datasets"}),
            keys={name: Key(name, takes_list=True) for name in ("name", "digest", "context")},
            operators=TEXTS | LISTS,
            is_ordered=False,
        ),
    )
)


def attribute(key: str, is_sqlite: bool) -> str:
    """The expression for an attribute of the run `r`."""
    if key == "status":
        cases = " ".join(f"WHEN '{state}' THEN '{word}'" for state, word in STATUS.items())
        return f"(CASE r.state {cases} END)"
    if key == "artifact_uri":
        # Read out of the document: too rarely asked for to be a column.
        return "json_extract(r.doc, '$.artifact_uri')" if is_sqlite else "(CAST(r.doc AS json) ->> 'artifact_uri')"
    return {"run_id": "r.key", "run_name": "r.name", "user_id": 'r."user"', **TIMES}[key]


def attribute_part(clause: Clause, is_sqlite: bool) -> Part:
    """A clause on an attribute of the run `r`."""
    column = attribute(clause.key, is_sqlite)
    if clause.key in TIMES:
        return time_part(column, clause.operator, clause.value)  # type: ignore[arg-type]  # the grammar saw to it
    return text_part(column, clause.operator, clause.value, is_sqlite=is_sqlite)


def dataset_part(clause: Clause, is_sqlite: bool) -> Part:
    """A clause on a dataset that the run `r` read: one of them meets it."""
    met = text_part(f"d.{clause.key}", clause.operator, clause.value, is_sqlite=is_sqlite)
    if clause.key == "context":
        met = joined([Part("d.context != ''"), met])
    return Part(
        f"EXISTS (SELECT 1 FROM run_inputs d WHERE d.project = r.project AND d.run_id = r.key AND {met.sql})",  # noqa: S608
        met.values,
    )
