"""A search finds what a plain comparison of all runs finds, in the same order, on either database, page by page."""

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sill.core.errors import InvalidValue
from sill.runs.logged_models import links
from sill.runs.logged_models.types import Dataset, DatasetInput
from sill.runs.store import RUNS
from sill.runs.tracking import search as searching
from sill.runs.tracking import store
from sill.runs.tracking.fields import RUN_FIELDS, STATUS
from sill.runs.tracking.filters import Clause, Order, holds, parse_filter, parse_order
from sill.runs.tracking.search import Query, search
from sill.runs.types import Batch, Lifecycle, Metric, Run, RunSpec, RunState
from sill.stores.database import Database, Tx

LONG = "y" * 250
METRICS = [None, 0.0, 1.0, 1.0, -2.5, math.nan, math.inf, -math.inf]
TEXTS = [None, "a", "A", "ab", "a_b", "a*b", "%", "", LONG + "1", LONG + "2", "é", "b\\c"]
CONTEXTS = [None, "", "train", "eval"]
COUNT = 60

_numbers = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
_number = st.sampled_from(["0", "1", "-2.5", "1e400", "-1e400", "0.5"])
_texts = st.sampled_from(["=", "!=", "LIKE", "ILIKE"])
_text = st.sampled_from(["a", "A", "a%", "%b", "a_b", "A_B", "a*b", "%", "", LONG + "1", LONG + "%", "É", "b\\c", "x"])
_clauses = st.one_of(
    st.builds("metrics.m{} {} {}".format, st.sampled_from([1, 2]), _numbers, _number),
    st.builds("{}.t1 {} '{}'".format, st.sampled_from(["params", "tags"]), _texts, _text),
    st.builds("{}.t1 IS {}".format, st.sampled_from(["params", "tags"]), st.sampled_from(["NULL", "NOT NULL"])),
    st.builds("attributes.run_name {} '{}'".format, _texts, _text),
    st.builds("attributes.user_id {} '{}'".format, _texts, st.sampled_from(["ada", "A%", "x"])),
    st.builds("attributes.artifact_uri {} '{}'".format, _texts, st.sampled_from(["mlflow-artifacts:/1", "%:/_"])),
    st.builds("attributes.status {} '{}'".format, _texts, st.sampled_from(["RUNNING", "fin%", "F%"])),
    st.builds(
        "{} {} {}".format,
        st.sampled_from(["start_time", "end_time"]),
        _numbers,
        st.sampled_from(["0", "3", "3.5", "-1", "9"]),
    ),
    st.builds("run_id {} ('run-00000003', 'run-00000041')".format, st.sampled_from(["IN", "NOT IN"])),
    st.builds("datasets.name {} '{}'".format, _texts, st.sampled_from(["d1", "d%"])),
    st.builds("datasets.context {} ('train', 'x')".format, st.sampled_from(["IN", "NOT IN"])),
)
_orders = st.sampled_from(
    [
        *(
            "metrics.m1",
            "metrics.m2",
            "params.t1",
            "tags.t1",
            "start_time",
            "end_time",
            "run_name",
            "status",
            "user_id",
        ),
        *("run_id", "artifact_uri", "metrics.none"),
    ]
)


class Made:
    """A run with what was logged to it, as the plain comparison sees it."""

    def __init__(self, number: int) -> None:
        pick = lambda items, factor: items[number * factor // 7 % len(items)]  # noqa: E731
        state = pick(list(RunState), 5)
        self.metrics = {"m1": pick(METRICS, 13), "m2": pick(METRICS, 29)}
        self.params, self.tags = {"t1": pick(TEXTS, 11)}, {"t1": pick(TEXTS, 17)}
        self.dataset, self.context = pick([None, "d1", "d2"], 19), pick(CONTEXTS, 23)
        self.run = Run(
            id=f"run-{number:08}",
            project="p",
            spec=RunSpec(),
            state=state,
            experiment_id=str(number % 3),
            lifecycle=Lifecycle.DELETED if number % 10 == 9 else Lifecycle.ACTIVE,
            name=pick(TEXTS, 31) or f"n{number % 4}",
            user=("ada", "bob")[number % 2],
            artifact_uri=f"mlflow-artifacts:/{number % 2}",
            started_us=number % 7 * 1_000 + number % 2,
            ended_us=number % 5 * 1_000 if state.is_final else 0,
        )

    def keep(self, tx: Tx) -> None:
        RUNS.create(tx, self.run)
        metrics = tuple(Metric(key=key, value=value) for key, value in self.metrics.items() if value is not None)
        texts = [{key: text for key, text in texts.items() if text is not None} for texts in (self.params, self.tags)]
        store.log(tx, "p", self.run.id, Batch(metrics=metrics, params=texts[0], tags=texts[1]))
        if self.dataset:
            dataset = Dataset(name=self.dataset, digest="1", source_type="local", source="{}")
            tags = {} if self.context is None else {"mlflow.data.context": self.context}
            links.add_inputs(
                tx, "p", self.run.id, self.run.experiment_id, [DatasetInput(dataset=dataset, tags=tags)], []
            )

    def value(self, entity: str, key: str) -> Any:
        run = self.run
        if entity == "attribute":
            names = {"run_id": run.id, "run_name": run.name, "user_id": run.user, "artifact_uri": run.artifact_uri}
            times = {"start_time": run.started_us // 1_000, "end_time": run.ended_us // 1_000}
            stored = run.started_us if key == "start_time" else run.ended_us
            return (times[key] if stored else None) if key in times else {**names, "status": STATUS[run.state]}[key]
        if entity == "dataset":
            return {"name": self.dataset, "digest": "1", "context": self.context or None}[key] if self.dataset else None
        return {"metric": self.metrics, "parameter": self.params, "tag": self.tags}[entity].get(key)

    def is_met(self, clause: Clause) -> bool:
        return holds(clause, self.value(clause.entity, clause.key))

    def rank(self, order: Order) -> tuple[int, Any]:
        value = self.value(order.entity, order.key)
        if order.key in ("start_time", "end_time") and value is not None:
            value = self.run.started_us if order.key == "start_time" else self.run.ended_us
        return (2, 0) if value is None else (1, 0) if value != value else (0, value)


MADE = [Made(number) for number in range(COUNT)]


def plainly(query: Query) -> list[str]:
    """Ids in MLflow's order, found by looking at every run."""
    found = [
        made
        for made in MADE
        if (query.experiment_ids is None or made.run.experiment_id in query.experiment_ids)
        and made.run.lifecycle in query.lifecycles
        and all(made.is_met(clause) for clause in query.clauses)
    ]
    found.sort(key=lambda made: (-made.run.started_us, made.run.id))
    for order in reversed(query.orders):
        kinds: list[list[Made]] = [[made for made in found if made.rank(order)[0] == kind] for kind in range(3)]
        kinds[0].sort(key=lambda made: made.rank(order)[1], reverse=not order.is_ascending)
        found = [made for kind in kinds for made in kind]
    return [made.run.id for made in found]


def looked_up(database: Database, query: Query, limit: int) -> list[str]:
    found: list[str] = []
    after = ""
    while True:
        page = database.read_sync(lambda c, a=after: search(c, query, a, limit))
        found += [run.id for run in page.items]
        after = page.next
        if not after:
            return found


def query_of(filter: str = "", order_by: tuple[str, ...] = (), ids: tuple[str, ...] | None = ("0", "1", "2")) -> Query:
    return Query("p", ids, (Lifecycle.ACTIVE,), parse_filter(filter, RUN_FIELDS), parse_order(order_by, RUN_FIELDS))


@pytest.fixture
def full(database: Database) -> Database:
    database.write_sync(lambda tx: [made.keep(tx) for made in MADE])
    return database


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    st.lists(_clauses, max_size=3).map(" AND ".join),
    st.lists(st.tuples(_orders, st.sampled_from(["", " DESC"])), max_size=3, unique_by=lambda one: one[0]),
    st.sampled_from([None, ("0",), ("1", "2"), ("0", "1", "2"), ("7",)]),
    st.sampled_from([(Lifecycle.ACTIVE,), tuple(Lifecycle)]),
    st.integers(1, 30),
    st.sampled_from([0, 8, 2_000]),
)
def test_a_search_finds_what_a_plain_comparison_finds(
    full: Database,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    orders: list[tuple[str, str]],
    ids: tuple[str, ...] | None,
    lifecycles: tuple[Lifecycle, ...],
    limit: int,
    few: int,
) -> None:
    monkeypatch.setattr(searching, "FEW", few)
    order_by = parse_order(["".join(order) for order in orders], RUN_FIELDS)
    query = Query("p", ids, lifecycles, parse_filter(text, RUN_FIELDS), order_by)

    assert looked_up(full, query, limit) == plainly(query)


def test_a_token_of_another_search_is_refused(full: Database) -> None:
    page = full.read_sync(lambda c: search(c, query_of(), "", 5))
    for token in (page.next, "x", "é", page.next[:-4], "AAAA"):
        with pytest.raises(InvalidValue):
            full.read_sync(lambda c, t=token: search(c, query_of("metrics.m1 > 0"), t, 5))


@pytest.mark.parametrize(
    "text", ["params.t1 = 'x'' OR 1=1 --'", "tags.`'; DROP TABLE runs; --` = 'a'", 'metrics.`"?%s` > 1']
)
def test_sql_in_a_filter_is_only_text(full: Database, text: str) -> None:
    assert looked_up(full, query_of(text), 5) == []
    assert len(looked_up(full, query_of(), 5)) == 54


def test_another_projects_runs_are_not_found(full: Database) -> None:
    query = Query("q", None, tuple(Lifecycle), (), ())

    assert looked_up(full, query, 5) == []
