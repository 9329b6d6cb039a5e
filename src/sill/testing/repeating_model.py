"""A model that answers in parts: gives back what it is given, one value a part, as Triton's own `repeat` does."""

import msgspec

from sill.runtimes.types import Signature, TensorSpec

SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="IN", datatype="INT32", shape=(-1,)),
        TensorSpec(name="DELAY_MS", datatype="INT32", shape=(-1,)),
    ),
    outputs=(
        TensorSpec(name="OUT", datatype="INT32", shape=(-1,)),
        TensorSpec(name="CLOSED", datatype="INT32", shape=(-1,)),
    ),
    task="other",
    streams=True,
)
FAILS, CRASHES = -1, -2
"""Values that make the model raise, and its process end, when their turn comes."""

CODE = b'''
import os
import time

import numpy as np


class Repeat:
    """Each value of IN as a part, after its DELAY_MS. CLOSED: how many streams were closed before their end so far."""

    def __init__(self, folder):
        self.closed = 0

    def infer(self, inputs):
        return self._part(inputs["IN"])

    def stream(self, inputs):
        try:
            for value, delay_ms in zip(inputs["IN"], inputs["DELAY_MS"]):
                time.sleep(delay_ms / 1e3)
                if value == -1:
                    raise ValueError("this value cannot be repeated")
                if value == -2:
                    os._exit(3)
                yield self._part(np.array([value]))
        except GeneratorExit:
            self.closed += 1
            raise

    def _part(self, values):
        return {"OUT": values, "CLOSED": np.full(len(values), self.closed)}
'''


def repeating() -> dict[str, bytes]:
    """The files of the model, for the runtime `python`."""
    spec = {"file": "repeat.py", "name": "Repeat", "signature": SIGNATURE}
    return {"callable.json": msgspec.json.encode(spec), "repeat.py": CODE}
