"""XGBoost: a loss for each round, how much each feature mattered, and the model."""

import mlflow
import xgboost
from sklearn.datasets import load_breast_cancer

mlflow.xgboost.autolog()


def main() -> dict[str, object]:
    x, y = load_breast_cancer(return_X_y=True, as_frame=True)
    data = xgboost.DMatrix(x, label=y)
    with mlflow.start_run(run_name="xgboost") as run:
        settings = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1}
        model = xgboost.train(settings, data, num_boost_round=5, evals=[(data, "train")], verbose_eval=False)
    version = mlflow.register_model(f"runs:/{run.info.run_id}/model", "cancer-xgboost")
    loaded = mlflow.xgboost.load_model(f"models:/{version.name}/{version.version}")
    return {"run": run.info.run_id, "scored": model.predict(data), "again": loaded.predict(data)}


if __name__ == "__main__":
    print(main())
