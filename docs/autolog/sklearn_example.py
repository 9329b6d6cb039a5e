"""scikit-learn: parameters, training scores, a confusion matrix and the model are logged by one line."""

import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

mlflow.sklearn.autolog()


def main() -> dict[str, object]:
    x, y = load_iris(return_X_y=True)
    with mlflow.start_run(run_name="scikit-learn") as run:
        model = LogisticRegression(max_iter=200).fit(x, y)
    version = mlflow.register_model(f"runs:/{run.info.run_id}/model", "iris-scikit-learn")
    loaded = mlflow.sklearn.load_model(f"models:/{version.name}/{version.version}")
    return {"run": run.info.run_id, "scored": model.predict_proba(x), "again": loaded.predict_proba(x)}


if __name__ == "__main__":
    print(main())
