"""A body that is one tensor's bytes and nothing else; what it is follows from the model, which has one input.

Source: triton-inference-server/server, docs/protocol/extension_binary_data.md, "Raw Binary Request".
"""

import math

from sill.core.errors import InvalidValue
from sill.protocols.oip.binary import read_binary
from sill.protocols.oip.codec import Inference
from sill.protocols.oip.types import RequestInput
from sill.runtimes.dtypes import LITTLE
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.bodies import Content


def read_raw(body: Content, signature: Signature) -> Inference:
    """The request; its outputs are answered as bytes.

    Raises:
        InvalidValue: the model has several inputs, or the shape does not follow from how much came.
        TooLarge: more than a tensor may hold.
    """
    if len(signature.inputs) != 1:
        raise InvalidValue(
            f"a raw body stands for the one input of a model; this one takes {len(signature.inputs)}.",
            fix="Send JSON, or JSON with binary tensors behind it.",
        )
    (spec,) = signature.inputs
    is_text = spec.datatype == "BYTES"
    shape = _shape(spec, 1 if is_text else len(body) / LITTLE[spec.datatype].itemsize)
    given = RequestInput(name=spec.name, shape=shape, datatype=spec.datatype)
    content = b"".join((len(body).to_bytes(4, "little"), body)) if is_text else body
    tensor = read_binary(given, memoryview(content))
    return Inference(id="", tensors={spec.name: tensor}, inputs=(given,), is_binary=True)


def _shape(spec: TensorSpec, count: float) -> tuple[int, ...]:
    """The shape of so many values. One free dimension follows from them; of several, the first is a batch of one.

    Raises:
        InvalidValue: several are left, or the values do not fill the shape.
    """
    sizes = list(spec.shape)
    if sizes.count(-1) > 1 and sizes[0] == -1:
        sizes[0] = 1
    fixed = math.prod(size for size in sizes if size != -1)
    free = count / fixed if fixed else 0.0
    if sizes.count(-1) > 1 or not free.is_integer() or (-1 not in sizes and free != 1):
        raise InvalidValue(
            f"the shape of input {spec.name!r} does not follow from a raw body of {count:g} values; the model takes "
            f"{list(spec.shape)} of {spec.datatype}.",
            fix="Say the shape: send JSON with binary tensors behind it.",
            field=spec.name,
        )
    return tuple(int(free) if size == -1 else size for size in sizes)
