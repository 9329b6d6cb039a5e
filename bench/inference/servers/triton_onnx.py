"""Triton's own server with its ONNX Runtime back end, which no wheel carries: BENCH_TRITON_BACKENDS names the folder of
back ends that has `onnxruntime/libtriton_onnxruntime.so` (from Triton's container, or built from its repository).

python triton_onnx.py MODEL PORT GRPC_PORT
"""

import os
import sys
from pathlib import Path

from triton import serve

back_ends = Path(os.environ.get("BENCH_TRITON_BACKENDS", "."))
if not (back_ends / "onnxruntime" / "libtriton_onnxruntime.so").exists():
    sys.exit("BENCH_TRITON_BACKENDS names no folder with onnxruntime/libtriton_onnxruntime.so")
# An instance for each of two cores; Triton's own batching costs more here than it gains.
serve("onnxruntime", back_ends, {"model.onnx": sys.argv[1]}, runs="instance_group [ { count: 2 kind: KIND_CPU } ]")
