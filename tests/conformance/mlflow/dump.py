"""Everything in tracking stores as MLflow's own client sees it, without the ids and times they choose themselves.

python dump.py URI …        one line of JSON each; runs in the client's environment
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

from mlflow import MlflowClient  # type: ignore[import-not-found]
from mlflow.artifacts import download_artifacts  # type: ignore[import-not-found]
from mlflow.entities import ViewType  # type: ignore[import-not-found]

MARK = "sill.source."


def everything(uri: str) -> dict[str, object]:
    """Experiments with their runs and logged models, registered models with their versions."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    names: dict[str, str] = {}
    experiments = sorted(client.search_experiments(view_type=ViewType.ALL), key=lambda each: each.name)
    for experiment in experiments:
        for run in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL, max_results=10_000):
            names[run.info.run_id] = run.info.run_name
        for model in client.search_logged_models([experiment.experiment_id], max_results=1_000):
            names[model.model_id] = model.name
    return {
        "experiments": [about_experiment(client, each, names, uri) for each in experiments],
        "registry": [
            about_registered(client, each, names)
            for each in sorted(client.search_registered_models(), key=lambda each: each.name)
        ],
    }


def about_experiment(client: MlflowClient, experiment: object, names: dict[str, str], uri: str) -> dict[str, object]:
    runs = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL, max_results=10_000)
    models = client.search_logged_models([experiment.experiment_id], max_results=1_000)
    return {
        "name": experiment.name,
        "stage": experiment.lifecycle_stage,
        "tags": own(experiment.tags),
        "runs": [about_run(client, each, names, uri) for each in sorted(runs, key=lambda each: each.info.start_time)],
        "models": [about_model(each, names) for each in sorted(models, key=lambda each: each.name)],
    }


def about_run(client: MlflowClient, run: object, names: dict[str, str], uri: str) -> dict[str, object]:
    info, data = run.info, run.data
    tags = own(data.tags)
    if "mlflow.parentRunId" in tags:
        tags["mlflow.parentRunId"] = names.get(tags["mlflow.parentRunId"], "unknown")
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return {
        "about": [info.run_name, info.status, info.start_time, info.end_time or 0, info.user_id, info.lifecycle_stage],
        "params": data.params,
        "tags": tags,
        "last": {key: repr(value) for key, value in data.metrics.items()},
        "series": {
            key: sorted(
                [each.timestamp, each.step, repr(each.value)] for each in client.get_metric_history(info.run_id, key)
            )
            for key in data.metrics
        },
        "datasets": sorted([each.dataset.to_dictionary(), own({t.key: t.value for t in each.tags})] for each in inputs),
        "outputs": sorted(
            [names[each.model_id], each.step] for each in (run.outputs.model_outputs if run.outputs else [])
        ),
        "files": files(info.run_id, uri),
    }


def files(run_id: str, uri: str) -> dict[str, str]:
    """Paths and digests."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(download_artifacts(run_id=run_id, artifact_path="", dst_path=folder, tracking_uri=uri))
        return {
            path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }


def about_model(model: object, names: dict[str, str]) -> dict[str, object]:
    metrics = sorted([each.key, each.step, each.timestamp, repr(each.value)] for each in model.metrics or ())
    about = [model.name, model.model_type, str(model.status), names.get(model.source_run_id)]
    return {"about": about, "params": model.params, "tags": own(model.tags), "metrics": metrics}


def about_registered(client: MlflowClient, model: object, names: dict[str, str]) -> dict[str, object]:
    quoted = model.name.replace("'", "''")
    versions = sorted(client.search_model_versions(f"name='{quoted}'"), key=lambda each: int(each.version))
    aliases = client.get_registered_model(model.name).aliases
    return {
        "about": [model.name, model.description or "", own(model.tags), {a: str(v) for a, v in aliases.items()}],
        "versions": [
            [
                str(each.version),
                each.description or "",
                each.current_stage,
                names.get(each.run_id),
                each.source.rpartition("/artifacts/")[2],
                own(each.tags),
            ]
            for each in versions
        ],
    }


def own(tags: dict[str, str]) -> dict[str, str]:
    """Tags without what the transfer leaves of its own."""
    return {key: value for key, value in tags.items() if not key.startswith(MARK)}


if __name__ == "__main__":
    for each in sys.argv[1:]:
        print(json.dumps(everything(each)))
