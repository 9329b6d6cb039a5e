"""What the plain MLflow client takes for one thing, over and over. Runs in the client's own environment.

python tracking_client.py URI WHAT RUN_ID EXPERIMENT_ID SECONDS     prints a JSON list of seconds
"""

import json
import sys
import time

POINTS = 1_000
FILTER, ORDER = "metrics.auc > 0.9 AND params.kind = 'cnn'", ["metrics.auc DESC"]
PAGE = 100


def main(uri: str, what: str, run_id: str, experiment_id: str, seconds: float) -> None:
    """Do it until the time is over, at least once."""
    from mlflow import MlflowClient  # type: ignore[import-not-found]  # not where the benchmark itself runs
    from mlflow.entities import Metric  # type: ignore[import-not-found]

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.get_run(run_id)
    offset = time.time_ns()
    taken: list[float] = []
    until_s = time.perf_counter() + seconds
    while not taken or time.perf_counter() < until_s:
        step = offset + len(taken) * POINTS
        metrics = [Metric(f"m{at % 10}", at * 0.5, step, step + at) for at in range(POINTS)] if what == "batch" else []
        begun_s = time.perf_counter()
        if what == "batch":
            client.log_batch(run_id, metrics=metrics)
        elif what == "single":
            client.log_metric(run_id, "single", 0.5, timestamp=step, step=step)
        elif what == "search":
            client.search_runs([experiment_id], FILTER, order_by=ORDER, max_results=PAGE)
        elif what == "history":
            client.get_metric_history(run_id, "long")
        taken.append(time.perf_counter() - begun_s)
    print(json.dumps(taken))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], float(sys.argv[5]))
