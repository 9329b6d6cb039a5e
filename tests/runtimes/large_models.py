"""Makes a model with JAX or TensorFlow, in the environment that has them, and prints what it answers to rows, as JSON."""

import json
import os
import sys
from pathlib import Path
from typing import Any

WEIGHTS = [[0.5, -1.0], [1.5, 0.25], [-0.75, 2.0]]


def jax_model(rows: Any, folder: Path) -> Any:
    """Of a row of three numbers the probabilities of two classes, by a name."""
    import jax
    import jax.numpy as jnp
    from jax import export

    def answer(given: dict[str, Any]) -> dict[str, Any]:
        return {"p": jax.nn.softmax(given["x"] @ jnp.asarray(WEIGHTS))}

    (count,) = export.symbolic_shape("count")
    made = export.export(jax.jit(answer))({"x": jax.ShapeDtypeStruct((count, 3), jnp.float32)})
    (folder / "model.jax").write_bytes(made.serialize())
    return answer({"x": jnp.asarray(rows, jnp.float32)})["p"]


def tensorflow_model(rows: Any, folder: Path) -> Any:
    """The same."""
    import tensorflow as tf

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(WEIGHTS)

        @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="x")])
        def __call__(self, x: Any) -> dict[str, Any]:
            return {"p": tf.nn.softmax(x @ self.weights)}

    model = Model()
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.__call__})
    return model(tf.constant(rows, tf.float32))["p"]


if __name__ == "__main__":
    os.environ |= {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    told = json.load(sys.stdin)
    made = {"jax": jax_model, "tensorflow": tensorflow_model}[sys.argv[1]](told["rows"], Path(told["folder"]))
    print(json.dumps([[float(one) for one in row] for row in made]))
