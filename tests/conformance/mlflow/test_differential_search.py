"""The same for searches: filters, orders and pages over experiments and runs, good ones and bad ones."""

import random
from itertools import product

import pytest
from tests.conformance.mlflow.replay import Both, Replay
from tests.conformance.mlflow.test_differential import (
    API,
    START_MS,
    dataset,
    every_answer_is_equal,
    experiment,
    run,
)

__all__ = ["every_answer_is_equal"]

pytestmark = [pytest.mark.peer("mlflow"), pytest.mark.timeout(300)]


def test_search_of_experiments(replay: Replay) -> None:
    made = [
        experiment(replay, f"find-{at}", tags=[{"key": "n", "value": str(at)}, {"key": "odd", "value": str(at % 2)}])
        for at in range(7)
    ]
    replay.post(API + "experiments/delete", experiment_id=made[3])
    filters = [
        "name LIKE 'find-%'",
        "name ILIKE 'FIND-%'",
        "name = 'find-2'",
        "name != 'find-2' AND name LIKE 'find-%'",
        "tags.odd = '1' AND name LIKE 'find-%'",
        "tag.n LIKE '%4' AND attribute.name LIKE 'find%'",
        "tags.`odd` != '1' AND name LIKE 'find-%'",
        "creation_time > 0 AND name LIKE 'find-%'",
        "last_update_time < 5 AND name LIKE 'find-%'",
        "name < 'x'",
        "metrics.a > 1",
        "name LIKE",
        "name = 'a' OR name = 'b'",
        "; DROP TABLE experiments",
    ]
    for text, view in product(filters, ("ACTIVE_ONLY", "DELETED_ONLY", "ALL")):
        replay.post(API + "experiments/search", filter=text, view_type=view, max_results=100, order_by=["name ASC"])
    for order in (
        ["name DESC"],
        ["experiment_id ASC"],
        ["creation_time DESC", "name"],
        ["nonsense"],
        ["name SIDEWAYS"],
    ):
        replay.post(API + "experiments/search", filter="name LIKE 'find-%'", max_results=100, order_by=order)
    token: object = None
    for _ in range(4):
        page = replay.post(
            API + "experiments/search", filter="name LIKE 'find-%'", max_results=2, order_by=["name"], page_token=token
        )
        token = page["next_page_token"]
    for limit in (0, -1, 50_001):
        replay.post(API + "experiments/search", max_results=limit)
    replay.post(API + "experiments/search", max_results=10, page_token="nonsense")


def test_search_of_runs(replay: Replay) -> None:
    home, beside = experiment(replay, "search"), experiment(replay, "search-beside")
    fill(replay, home, beside)

    def search(**given: object) -> Both:
        return replay.post(API + "runs/search", **{"experiment_ids": [home], "max_results": 50, **given})

    for text in GOOD_FILTERS:
        search(filter=text)
    for text in BAD_FILTERS:
        search(filter=text)
    with replay.known("half a filter is refused, and does not find nothing", theirs=200, ours=400):
        for text in HALF_FILTERS:
            search(filter=text)
    for order in ORDERS:
        search(order_by=order)
    for view in ("ACTIVE_ONLY", "DELETED_ONLY", "ALL"):
        search(run_view_type=view, filter="metrics.auc > 0.2", order_by=["metrics.auc DESC"])
    with replay.known("a view that is none is refused, not passed over", theirs=200, ours=400):
        search(run_view_type="NONSENSE")
    search(experiment_ids=[home, beside], order_by=["attributes.start_time ASC"])
    search(experiment_ids=[])
    search(experiment_ids=["999999"])
    for limit in (0, -1, 50_001, "5"):
        search(max_results=limit)
    for text, order in (
        ("", []),
        ("params.kind = 'cnn'", ["metrics.auc ASC"]),
        ("", ["params.depth", "metrics.loss DESC"]),
    ):
        token: object = None
        for _ in range(5):
            page = search(filter=text, order_by=order, max_results=9, page_token=token)
            token = page["next_page_token"]
    search(page_token="nonsense")


GOOD_FILTERS = [
    *(f"metrics.auc {sign} 0.5" for sign in ("=", "!=", "<", "<=", ">", ">=")),
    *(f"metrics.`val/loss` {sign} 1.25" for sign in ("<", ">=")),
    'metrics."val/loss" > 1',
    "metric.auc > 0.3 and metrics.auc < 0.8",
    "metrics.absent > 0",
    "metrics.nan = 1",
    "metrics.auc > 1e-1",
    "metrics.auc > -1",
    "params.kind = 'cnn'",
    "params.kind != 'cnn'",
    "params.kind LIKE 'c%'",
    "params.kind ILIKE 'C%'",
    "param.depth = '3'",
    'parameters.depth != "3"',
    "params.kind IN ('cnn', 'mlp')",
    "params.kind NOT IN ('cnn')",
    "params.`odd key` = 'x y'",
    "params.absent = '1'",
    "tags.team = 'a'",
    "tags.team != 'a'",
    "tag.team LIKE '%'",
    "tags.`mlflow.note.content` ILIKE '%NOTE%'",
    "tags.team IS NULL",
    "tags.team IS NOT NULL",
    "params.odd IS NULL",
    "attributes.status = 'FINISHED'",
    "status != 'FINISHED'",
    "attribute.status IN ('FAILED', 'KILLED')",
    "attributes.user_id = 'ada'",
    "attributes.run_name = 'run-7'",
    "attributes.`run name` LIKE 'run-1%'",
    "run_name ILIKE 'RUN-2_'",
    "attributes.run_name IN ('run-1', 'run-2', 'run-30')",
    f"attributes.start_time > {START_MS + 20_000}",
    f"start_time <= {START_MS + 5_000}",
    f"attributes.end_time < {START_MS + 30_000}",
    f"attributes.created >= {START_MS}",
    "dataset.name = 'rows-1'",
    "datasets.name LIKE 'rows-%'",
    "dataset.digest IN ('d0', 'd2')",
    "dataset.context = 'train'",
    "metrics.auc > 0.2 AND params.kind = 'cnn' AND tags.team = 'a' AND attributes.status = 'FINISHED'",
    "   metrics.auc>0.2   AND params.kind='cnn'  ",
    "params.kind = 'it''s'",
]
BAD_FILTERS = [
    "metrics.auc",
    "metrics.auc > 'x'",
    "metrics.auc LIKE '1'",
    "metrics.auc > 0.1 OR metrics.auc < 0.05",
    "params.kind > 'a'",
    "params.depth = 3",
    "params.kind = cnn",
    "tags.team < 'a'",
    "attributes.nonsense = 'a'",
    "attributes.start_time > 'x'",
    "attributes.start_time LIKE '1'",
    "nonsense.a = '1'",
    "dataset.nonsense = '1'",
    "(metrics.auc > 1)",
    "params.kind IN 'cnn'",
    "params.kind IN ()",
    "metrics.auc IN (1, 2)",
    "attributes.run_id = 'x'; DROP TABLE runs",
    "params.kind == 'a'",
    "'a' = params.kind",
    "metrics.auc > 0.1, metrics.auc < 1",
    "metrics.auc IS NULL",
]
HALF_FILTERS = ["metrics. > 1", "params.kind = 'a' AND", "AND params.kind = 'a'"]
ORDERS = [
    [],
    ["metrics.auc"],
    ["metrics.auc DESC"],
    ["metrics.`val/loss` ASC", "params.depth DESC"],
    ["metrics.nan DESC"],
    ["metrics.nan ASC"],
    ["metrics.absent"],
    ["params.kind ASC", "metrics.auc DESC"],
    ["params.absent DESC"],
    ["tags.team DESC"],
    ["attributes.start_time ASC"],
    ["start_time desc"],
    ["attributes.end_time DESC"],
    ["attributes.status", "attributes.start_time"],
    ["attributes.run_name"],
    ["Created"],
    ["user_id", "start_time"],
    ["dataset.name"],
    ["nonsense"],
    ["metrics.auc SIDEWAYS"],
    ["metrics.auc ASC DESC"],
    ["attributes.nonsense"],
    [""],
]
RUNS = 26


def fill(replay: Replay, home: Both, beside: Both) -> None:
    """Runs with different metrics, params, tags, states and datasets; some lack one or another."""
    dice = random.Random(11)
    for at in range(RUNS):
        made = run(replay, beside if at % 13 == 12 else home, at * 1_000, run_name=f"run-{at}")
        metrics = [{"key": "auc", "value": round(dice.random(), 3), "timestamp": START_MS, "step": s} for s in range(3)]
        metrics += [{"key": "val/loss", "value": dice.gauss(1, 1), "timestamp": 1, "step": 0}] if at % 3 else []
        metrics += (
            [{"key": "nan", "value": dice.choice([1.0, 2.0, "NaN"]), "timestamp": 1, "step": 0}] if at % 2 else []
        )
        params = [{"key": "kind", "value": dice.choice(["cnn", "mlp", "it's"])}, {"key": "depth", "value": str(at % 5)}]
        params += [{"key": "odd key", "value": "x y"}] if at % 7 == 0 else []
        tags = [{"key": "team", "value": dice.choice("ab")}] if at % 4 else []
        tags += [{"key": "mlflow.note.content", "value": f"note {at}"}] if at % 5 == 0 else []
        replay.post(API + "runs/log-batch", run_id=made, metrics=metrics, params=params, tags=tags)
        if at % 6 == 0:
            replay.post(
                API + "runs/log-inputs", run_id=made, datasets=[dataset(f"rows-{at % 4}", f"d{at % 4}", "train")]
            )
        if at % 2 == 0:
            status = dice.choice(["FINISHED", "FAILED", "KILLED"])
            replay.post(API + "runs/update", run_id=made, status=status, end_time=START_MS + at * 1_000 + 500)
        if at in (5, 18):
            replay.post(API + "runs/delete", run_id=made)
