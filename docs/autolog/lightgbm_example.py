"""LightGBM: a loss for each round, how much each feature mattered, and the model."""

import lightgbm
import mlflow
from sklearn.datasets import load_breast_cancer

mlflow.lightgbm.autolog()


def main() -> dict[str, object]:
    x, y = load_breast_cancer(return_X_y=True)
    data = lightgbm.Dataset(x, label=y)
    with mlflow.start_run(run_name="lightgbm") as run:
        settings = {"objective": "binary", "num_leaves": 7, "num_threads": 1, "verbose": -1}
        model = lightgbm.train(settings, data, num_boost_round=5, valid_sets=[data], valid_names=["train"])
    version = mlflow.register_model(f"runs:/{run.info.run_id}/model", "cancer-lightgbm")
    loaded = mlflow.lightgbm.load_model(f"models:/{version.name}/{version.version}")
    return {"run": run.info.run_id, "scored": model.predict(x), "again": loaded.predict(x)}


if __name__ == "__main__":
    print(main())
