"""Keras (here on PyTorch): the settings of `fit`, a loss for each epoch, the model's shape, and the model."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import mlflow
import numpy

mlflow.keras.autolog()


def main() -> dict[str, object]:
    keras.utils.set_random_seed(7)
    x = numpy.random.default_rng(7).normal(size=(64, 3)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    with mlflow.start_run(run_name="keras") as run:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(1)])
        model.compile(optimizer="adam", loss="mse")
        model.fit(x, y, epochs=3, batch_size=16, verbose=0)
    version = mlflow.register_model(f"runs:/{run.info.run_id}/model", "sum-keras")
    loaded = mlflow.keras.load_model(f"models:/{version.name}/{version.version}")
    return {"run": run.info.run_id, "scored": model.predict(x, verbose=0), "again": loaded.predict(x, verbose=0)}


if __name__ == "__main__":
    print(main())
