"""Writes models that give back what they are given, by a library, in the environment that has it.

python identities.py torch|jax|tensorflow FOLDER, with {NAME: [DATATYPE, SHAPE]} on stdin; each model gets a folder NAME.
"""

import json
import os
import sys
from pathlib import Path

from cases import NUMPY


def free(shape, size):
    """The shape with a size for the dimensions that are free."""
    return [size if one < 0 else one for one in shape]


def write_torch(folder, datatype, shape):
    import torch

    class Same(torch.nn.Module):
        def forward(self, INPUT0):
            return INPUT0.clone()

    example = torch.zeros(free(shape, 2), dtype=getattr(torch, NUMPY[datatype].__name__.rstrip("_")))
    dynamic = {place: torch.export.Dim.DYNAMIC for place, size in enumerate(shape) if size < 0}
    torch.export.save(torch.export.export(Same(), (example,), dynamic_shapes=(dynamic,)), folder / "model.pt2")


def write_jax(folder, datatype, shape):
    import jax
    from jax import export

    sizes = export.symbolic_shape(",".join(f"s{place}" if size < 0 else str(size) for place, size in enumerate(shape)))
    same = jax.jit(lambda given: {"output": given["INPUT0"]})
    made = export.export(same)({"INPUT0": jax.ShapeDtypeStruct(sizes, NUMPY[datatype])})
    (folder / "model.jax").write_bytes(made.serialize())


def write_tensorflow(folder, datatype, shape):
    import tensorflow as tf

    kind = tf.string if datatype == "BYTES" else tf.as_dtype(NUMPY[datatype])
    spec = tf.TensorSpec(free(shape, None), kind, name="INPUT0")

    class Same(tf.Module):
        @tf.function(input_signature=[spec])
        def __call__(self, INPUT0):
            return {"output": tf.identity(INPUT0)}

    model = Same()
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.__call__})


if __name__ == "__main__":
    os.environ |= {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    write = {"torch": write_torch, "jax": write_jax, "tensorflow": write_tensorflow}[sys.argv[1]]
    for name, (datatype, shape) in json.load(sys.stdin).items():
        place = Path(sys.argv[2]) / name
        place.mkdir()
        write(place, datatype, shape)
