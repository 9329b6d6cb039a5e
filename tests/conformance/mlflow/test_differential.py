"""Every answer of Sill's MLflow door is the one that a real MLflow server gives to the same calls.

What is compared, and which differences are known, is in `replay.py`. Each story makes its own experiments.
"""

import random
from collections.abc import Iterator

import pytest
from tests.conformance.mlflow.replay import Both, Replay

pytestmark = [pytest.mark.peer("mlflow"), pytest.mark.timeout(300)]

API = "/api/2.0/mlflow/"
START_MS = 1_700_000_000_000
SHOWN_MAX = 40


@pytest.fixture(autouse=True)
def every_answer_is_equal(replay: Replay) -> Iterator[None]:
    """Whatever a story asked for, both answered alike."""
    replay.differences.clear()
    yield
    shown = "\n".join(replay.differences[:SHOWN_MAX])
    assert not replay.differences, f"{len(replay.differences)} differences:\n{shown}"


def experiment(replay: Replay, name: str, **more: object) -> Both:
    return replay.post(API + "experiments/create", name=name, **more)["experiment_id"]


def run(replay: Replay, experiment_id: Both, at: int = 0, **more: object) -> Both:
    made = replay.post(
        API + "runs/create", experiment_id=experiment_id, start_time=START_MS + at, user_id="ada", **more
    )
    return made["run"]["info"]["run_id"]


def dataset(name: str, digest: str, context: str = "", **more: object) -> dict[str, object]:
    tags = [{"key": "mlflow.data.context", "value": context}] if context else []
    return {
        "tags": tags,
        "dataset": {"name": name, "digest": digest, "source_type": "local", "source": '{"uri": "x"}', **more},
    }


def test_experiments(replay: Replay) -> None:
    one = experiment(replay, "exp-one", tags=[{"key": "team", "value": "vision"}, {"key": "ünï", "value": "ç 漢"}])
    two = experiment(replay, "exp-two", artifact_location="mlflow-artifacts:/elsewhere")
    for name in ("exp-one", "", None, 5, "x" * 501, "exp/with/slash", " spaces ", "emoji 🚀", "a\nb"):
        experiment(replay, name)  # type: ignore[arg-type]
    for wanted in (one, two, "0", "999999", "", "abc", None):
        replay.get(API + "experiments/get", experiment_id=wanted)
    for name in ("exp-one", "Default", "absent", ""):
        replay.get(API + "experiments/get-by-name", experiment_name=name)
    for key, value in (("a", "1"), ("a", "2"), ("", "x"), ("k" * 251, "x"), ("long", "v" * 5_001), ("b/c d.e-f", "")):
        replay.post(API + "experiments/set-experiment-tag", experiment_id=one, key=key, value=value)
    for key in ("a", "absent"):
        replay.post(API + "experiments/delete-experiment-tag", experiment_id=one, key=key)
    replay.get(API + "experiments/get", experiment_id=one)
    for name in ("exp-two", "exp-renamed", "", None):
        replay.post(API + "experiments/update", experiment_id=one, new_name=name)
    for step in ("delete", "delete"):
        replay.post(API + f"experiments/{step}", experiment_id=two)
    replay.get(API + "experiments/get", experiment_id=two)
    replay.get(API + "experiments/get-by-name", experiment_name="exp-two")
    with replay.known("a client's mistake is not told as a fault of the server", theirs=500, ours=400):
        replay.post(API + "experiments/update", experiment_id=two, new_name="q")
    for step in ("restore", "restore"):
        replay.post(API + f"experiments/{step}", experiment_id=two)
    replay.post(API + "experiments/delete", experiment_id="0")
    replay.post(API + "experiments/restore", experiment_id="0")


def test_runs(replay: Replay) -> None:
    home = experiment(replay, "runs")
    one = run(replay, home, run_name="first", tags=[{"key": "mlflow.source.name", "value": "train.py"}])
    two = run(replay, home, 1, tags=[{"key": "mlflow.runName", "value": "by tag"}])
    run(replay, home, 2, run_name="a", tags=[{"key": "mlflow.runName", "value": "b"}])
    run(replay, home, 3, tags=[{"key": "mlflow.parentRunId", "value": one}], run_name="child")
    replay.post(API + "runs/create", experiment_id="999999", start_time=START_MS)
    with replay.known("the limit of 250 characters for a key holds wherever a tag is set", theirs=200, ours=400):
        replay.post(
            API + "runs/create", experiment_id=home, start_time=START_MS, tags=[{"key": "k" * 251, "value": ""}]
        )
    for wanted in (one, two, "absent", "", "../etc"):
        replay.get(API + "runs/get", run_id=wanted)
        replay.get(API + "runs/get", run_uuid=wanted)
    for status in ("RUNNING", "FAILED", "KILLED", "SCHEDULED", "FINISHED", 3):
        replay.post(API + "runs/update", run_id=one, status=status)
        replay.get(API + "runs/get", run_id=one)
    for given in ({"end_time": START_MS + 5}, {"run_name": "renamed"}, {"run_name": ""}, {}):
        replay.post(API + "runs/update", run_id=one, status="FINISHED", **given)
        replay.get(API + "runs/get", run_id=one)
    with replay.known("a state that is none is refused, not passed over", theirs=200, ours=400):
        replay.post(API + "runs/update", run_id=one, status="NONSENSE")
    replay.post(API + "runs/update", run_id="absent", status="FINISHED")
    replay.post(API + "runs/set-tag", run_id=two, key="mlflow.runName", value="renamed by tag")
    replay.get(API + "runs/get", run_id=two)
    for step in ("delete", "delete", "restore", "restore"):
        replay.post(API + f"runs/{step}", run_id=two)
        replay.get(API + "runs/get", run_id=two)
    replay.post(API + "runs/delete", run_id="absent")
    replay.post(API + "runs/restore", run_id="absent")


def test_writes_to_what_is_deleted_are_refused(replay: Replay) -> None:
    home = experiment(replay, "gone")
    dead = run(replay, home)
    alive = run(replay, home, 1)
    replay.post(API + "runs/delete", run_id=dead)
    log_each(replay, dead)
    replay.post(API + "runs/update", run_id=dead, status="FINISHED")
    replay.post(API + "experiments/delete", experiment_id=home)
    log_each(replay, alive)
    replay.post(API + "runs/create", experiment_id=home, start_time=START_MS)
    replay.post(API + "experiments/set-experiment-tag", experiment_id=home, key="a", value="b")
    replay.get(API + "runs/get", run_id=alive)
    replay.post(API + "experiments/restore", experiment_id=home)
    replay.get(API + "runs/get", run_id=alive)
    replay.get(API + "runs/get", run_id=dead)


def log_each(replay: Replay, run_id: Both) -> None:
    replay.post(API + "runs/log-metric", run_id=run_id, key="m", value=1.0, timestamp=START_MS)
    replay.post(API + "runs/log-parameter", run_id=run_id, key="p", value="1")
    replay.post(API + "runs/set-tag", run_id=run_id, key="t", value="1")
    replay.post(API + "runs/delete-tag", run_id=run_id, key="t")
    replay.post(API + "runs/log-batch", run_id=run_id, params=[{"key": "q", "value": "1"}])


def test_metrics(replay: Replay) -> None:
    one = run(replay, experiment(replay, "metrics"))
    values = (0.0, -0.0, 1e-300, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, -7, "NaN", "Infinity", "-Infinity", "0.5")
    for at, value in enumerate(values):
        replay.post(API + "runs/log-metric", run_id=one, key=f"v{at}", value=value, timestamp=START_MS, step=at)
    for step in (0, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), "7", "x"):
        replay.post(API + "runs/log-metric", run_id=one, key="steps", value=1.0, timestamp=START_MS, step=step)
    for at_ms in (0, 1, -5, 2**63 - 1, "12", None):
        replay.post(API + "runs/log-metric", run_id=one, key="times", value=1.0, timestamp=at_ms, step=1)
    for key in (
        "a/b/c",
        "with space",
        "dot.s",
        "dash-",
        "",
        None,
        "/a",
        "a/",
        "a//b",
        "..",
        "a/../b",
        "ünï",
        "k" * 250,
    ):
        replay.post(API + "runs/log-metric", run_id=one, key=key, value=1.0, timestamp=START_MS)
    for key in ("k" * 251, "new\nline", "semi;colon", "q?x", "back\\slash", "co:lon"):
        replay.post(API + "runs/log-metric", run_id=one, key=key, value=1.0, timestamp=START_MS)
    for value in (None, "abc"):
        replay.post(API + "runs/log-metric", run_id=one, key="wrong", value=value, timestamp=START_MS)
    clamped(replay)
    # The last value is that of the largest step, then time, then value; one point twice is one point.
    for step, at_ms, value in ((5, 10, 1.0), (4, 99, 2.0), (5, 9, 3.0), (5, 10, 0.5), (5, 10, 4.0), (5, 10, 4.0)):
        replay.post(API + "runs/log-metric", run_id=one, key="last", value=value, timestamp=at_ms, step=step)
    replay.get(API + "runs/get", run_id=one)
    for key in ("steps", "times", "last", "v7", "v8", "absent", ""):
        replay.get(API + "metrics/get-history", run_id=one, metric_key=key)
    with replay.known("a run that is not there has no history, not an empty one", theirs=200, ours=404):
        replay.get(API + "metrics/get-history", run_id="absent", metric_key="last")
    replay.post(API + "runs/log-metric", run_id="absent", key="a", value=1.0, timestamp=START_MS)


def clamped(replay: Replay) -> None:
    """What MLflow makes fit in silence, in a run that is not compared afterwards."""
    odd = run(replay, experiment(replay, "clamped"))

    def log(**given: object) -> None:
        replay.post(API + "runs/log-metric", run_id=odd, **{"key": "m", "value": 1.0, "timestamp": START_MS, **given})

    with replay.known("nothing is clamped, rounded or guessed", theirs=200, ours=400):
        for number in (2**63, 1.5):
            log(step=number)
            log(timestamp=number)
        log(value=True)
    with replay.known("a client's mistake is not told as a fault of the server", theirs=500, ours=400):
        for value in ([1], {"a": 1}):
            log(value=value)


def test_history_in_pages_and_samples(replay: Replay) -> None:
    home = experiment(replay, "history")
    runs = [run(replay, home, at) for at in range(3)]
    dice = random.Random(7)
    for each in runs:
        points = [
            {"key": key, "value": dice.gauss(0, 1), "timestamp": START_MS + at, "step": at * 3}
            for at in range(300)
            for key in ("loss", "auc")
        ]
        dice.shuffle(points)
        replay.post(API + "runs/log-batch", run_id=each, metrics=points)
    token: object = None
    for _ in range(5):
        page = replay.get(
            API + "metrics/get-history", run_id=runs[0], metric_key="loss", max_results=70, page_token=token
        )
        token = page["next_page_token"]
    bulk, interval = (
        "/ajax-api/2.0/mlflow/metrics/get-history-bulk",
        "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval",
    )
    replay.get(bulk, run_id=runs, metric_key="auc")
    for limit in (5, 1_000):  # of one run: which of several comes first is a matter of their ids
        replay.get(bulk, run_id=runs[0], metric_key="auc", max_results=limit)
    for given in ({}, {"start_step": 30, "end_step": 90}, {"start_step": 90, "end_step": 30}):
        replay.get(interval, run_ids=runs, metric_key="auc", **given)
    with replay.known(
        "the last point of a series is in its sample, also where that makes one more", theirs=200, ours=200
    ):
        replay.get(interval, run_ids=runs, metric_key="auc", max_results=20)
    for given in ({"max_results": 0}, {"max_results": 2_501}, {"start_step": 5}, {"metric_key": ""}):
        replay.get(interval, run_ids=runs[:1], **{"metric_key": "auc", **given})
    replay.get(interval, metric_key="auc")
    replay.get(bulk, run_id=runs[0], metric_key="absent")


def test_params_and_tags(replay: Replay) -> None:
    one = run(replay, experiment(replay, "params"))
    for key, value in (("lr", "0.1"), ("lr", "0.1"), ("lr", "0.2"), ("empty", ""), ("a/b c", "ünï 漢"), ("", "x")):
        replay.post(API + "runs/log-parameter", run_id=one, key=key, value=value)
    for key, value in (("k" * 251, "x"), ("k" * 250, "x"), ("long", "v" * 6_000), ("n", 5)):
        replay.post(API + "runs/log-parameter", run_id=one, key=key, value=value)
    odd = run(replay, experiment(replay, "params-cut"))
    with replay.known("a param is kept whole or refused, never cut", theirs=200, ours=400):
        replay.post(API + "runs/log-parameter", run_id=odd, key="longer", value="v" * 6_001)
    for key, value in (("t", "1"), ("t", "2"), ("", "x"), ("k" * 251, "x"), ("long", "v" * 8_000), ("a/b", "")):
        replay.post(API + "runs/set-tag", run_id=one, key=key, value=value)
    for key in ("t", "t", "absent"):
        replay.post(API + "runs/delete-tag", run_id=one, key=key)
    replay.post(API + "runs/set-tag", run_id=one, key="mlflow.note.content", value="# A note\n")
    replay.get(API + "runs/get", run_id=one)


def test_batches(replay: Replay) -> None:
    one = run(replay, experiment(replay, "batches"))

    def log(**batch: object) -> None:
        replay.post(API + "runs/log-batch", run_id=one, **batch)

    def points(count: int, key: str = "m") -> list[dict[str, object]]:
        return [{"key": f"{key}{at}", "value": float(at), "timestamp": START_MS, "step": 0} for at in range(count)]

    def pairs(count: int, key: str) -> list[dict[str, object]]:
        return [{"key": f"{key}{at}", "value": str(at)} for at in range(count)]

    log()
    log(metrics=points(2), params=pairs(2, "p"), tags=pairs(2, "t"))
    log(metrics=points(1_001))
    log(params=pairs(101, "q"))
    log(tags=pairs(101, "q"))
    log(metrics=points(900), params=pairs(60, "r"), tags=pairs(60, "r"))
    log(metrics=points(800, "n"), params=pairs(100, "s"), tags=pairs(100, "s"))
    log(params=[{"key": "p0", "value": "0"}])
    log(params=[{"key": "p0", "value": "changed"}, {"key": "half", "value": "written"}])
    log(params=[{"key": "twice", "value": "1"}, {"key": "twice", "value": "1"}])
    log(params=[{"key": "twice2", "value": "1"}, {"key": "twice2", "value": "2"}])
    log(tags=[{"key": "both", "value": "1"}, {"key": "both", "value": "2"}])
    log(metrics=[*points(1, "dup"), *points(1, "dup")])
    log(metrics=[{"key": "untimed", "value": 1.0}])
    log(metrics=[{"key": "unvalued", "timestamp": 1}])
    log(metrics=[{"value": 1.0, "timestamp": 1}])
    log(metrics=[{"key": "odd", "value": "NaN", "timestamp": 1, "step": 2}, {"key": "odd", "value": 3, "timestamp": 2}])
    log(metrics={"key": "m"})
    log(params="p")
    refused_as_a_whole(replay)
    replay.post(API + "runs/log-batch", run_id="absent", tags=pairs(1, "t"))
    replay.post(API + "runs/log-batch", metrics=points(1))
    replay.get(API + "runs/get", run_id=one)
    replay.get(API + "metrics/get-history", run_id=one, metric_key="dup0")


def refused_as_a_whole(replay: Replay) -> None:
    odd = run(replay, experiment(replay, "batches-odd"))
    fine = {"key": "fine", "value": 1.0, "timestamp": 1}
    with replay.known("a key that ends with a line break is no key, a step beyond int64 no step", theirs=200, ours=400):
        replay.post(API + "runs/log-batch", run_id=odd, metrics=[fine, {**fine, "key": "bad\n"}])
        replay.post(API + "runs/log-batch", run_id=odd, metrics=[fine, {**fine, "step": 2**63}])
