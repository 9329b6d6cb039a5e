"""Models that give back what they are given, one for each datatype and class of shapes, as Triton's own tests have them."""

from typing import Any

import msgspec

from sill.runtimes.types import Signature, TensorSpec
from sill.safety.signing import Signer
from sill.testing.serving_zoo import Zoo

ONNX_NAMES = {
    "BOOL": "BOOL",
    "FP16": "FLOAT16",
    "FP32": "FLOAT",
    "FP64": "DOUBLE",
    "BYTES": "STRING",
    **{f"{sign}INT{bits}": f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
SHAPES: dict[str, tuple[int, ...]] = {
    "row": (-1, 4),
    "free": (-1, -1),
    "image": (-1, 3, -1, -1),
    "high": (-1, 2, 1, 2, 1, 2, -1),
    "vector": (-1,),
    "whole": (2, 3),
}
"""Shapes of the models' tensors; `whole` has no batch axis."""


def identity(datatype: str, shape: tuple[int, ...], count: int = 1) -> tuple[bytes, Signature]:
    """A model with `count` inputs `INPUT0` ... and outputs `OUTPUT0` ...; a single one is answered as `output`."""
    from onnx import TensorProto, helper

    kind = getattr(TensorProto, ONNX_NAMES[datatype])
    places = range(count)
    free = [None if size < 0 else size for size in shape]
    nodes = [helper.make_node("Identity", [f"INPUT{place}"], [f"OUTPUT{place}"]) for place in places]
    given = [helper.make_tensor_value_info(f"INPUT{place}", kind, free) for place in places]
    made = [helper.make_tensor_value_info(f"OUTPUT{place}", kind, free) for place in places]
    graph = helper.make_graph(nodes, "identity", given, made)
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    signature = Signature(
        inputs=tuple(TensorSpec(name=f"INPUT{place}", datatype=datatype, shape=shape) for place in places),
        outputs=tuple(TensorSpec(name=f"OUTPUT{place}", datatype=datatype, shape=shape) for place in places),
        task="other",
    )
    return model, signature


def identity_in_python(datatype: str, shape: tuple[int, ...]) -> tuple[dict[str, bytes], Signature]:
    """The same with one input and one output, as code: its files and what it takes and gives."""
    signature = Signature(
        inputs=(TensorSpec(name="INPUT0", datatype=datatype, shape=shape),),
        outputs=(TensorSpec(name="output", datatype=datatype, shape=shape),),
        task="other",
    )
    spec = {"file": "same.py", "name": "predict", "signature": signature}
    code = b"def predict(inputs):\n    return {'output': inputs['INPUT0']}\n"
    return {"callable.json": msgspec.json.encode(spec), "same.py": code}, signature


def every_identity(signer: Signer, datatypes: Any = tuple(ONNX_NAMES)) -> Zoo:
    """`identity_KIND_DATATYPE` (in small letters) for each class of shapes and datatype, and `pair_DATATYPE`."""
    zoo = Zoo(signer)
    for datatype in datatypes:
        for kind, shape in SHAPES.items():
            zoo.add(f"identity_{kind}_{datatype.lower()}", *identity(datatype, shape))
        zoo.add(f"pair_{datatype.lower()}", *identity(datatype, SHAPES["free"], 2))
    return zoo


def identities_of(runtime: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Datatype and shape of `identity_KIND_DATATYPE` in another runtime: what its library can hold, with free sizes.

    Of libraries that take much memory for each model: every datatype in one class of shapes, every class with one.
    JAX's free sizes are 1 or more, so images, whose case has none of something, are left out.
    """
    lacks = {"torch": ("BYTES",), "jax": ("BYTES", "INT64", "UINT64", "FP64")}.get(runtime, ())
    is_large = runtime in ("torch", "jax", "tensorflow")
    return {
        f"identity_{kind}_{datatype.lower()}": (datatype, shape)
        for datatype in ONNX_NAMES
        for kind, shape in SHAPES.items()
        if -1 in shape and datatype not in lacks and (not is_large or kind == "free" or datatype == "FP32")
        if (runtime, kind) != ("jax", "image")
    }
