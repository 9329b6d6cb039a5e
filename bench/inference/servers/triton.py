"""Triton through its wheel: the server's Python back end (the wheel has no other).   MODEL PORT GRPC_PORT"""

import sys

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from session import Session

session = Session(sys.argv[1])
given = onnxruntime.InferenceSession(sys.argv[1])
KINDS = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


@batch
def infer(**inputs):
    """Answer a batch."""
    return [session.answer(inputs["input"])]


def tensor(one):
    """A tensor's description without its batch axis."""
    return Tensor(name=one.name, dtype=KINDS[one.type], shape=tuple(one.shape[1:]))


if __name__ == "__main__":
    grpc = int(sys.argv[3])
    config = TritonConfig(http_address="127.0.0.1", http_port=int(sys.argv[2]), grpc_port=grpc, metrics_port=grpc + 1)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="model",
            infer_func=infer,
            inputs=[tensor(one) for one in given.get_inputs()],
            outputs=[tensor(one) for one in given.get_outputs()],
            config=ModelConfig(max_batch_size=128),
        )
        triton.serve()
