"""Triton's own server out of the `nvidia-pytriton` wheel, with the one back end the wheel has: Python.

The wheel's proxy between Triton and the user's function is left out; it makes Triton four times slower.

python triton.py MODEL PORT GRPC_PORT
"""

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

import onnxruntime
import pytriton

KINDS = {"tensor(float)": "TYPE_FP32", "tensor(int64)": "TYPE_INT64"}
HERE, WHEEL = Path(__file__).parent, Path(pytriton.__file__).parent
CONFIG = """
name: "model"
backend: "{backend}"
max_batch_size: 128
{runs}
input [ {inputs} ]
output [ {outputs} ]
parameters {{ key: "file" value: {{ string_value: "{file}" }} }}
parameters {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }}
"""


def serve(backend, back_ends, files, runs):
    """Become Triton with the model of the command line.

    Args:
        back_ends: the folder of Triton's back ends.
        files: what belongs into the model's folder, by the name it has there.
        runs: lines of the model's configuration that say how it runs.
    """
    model, port, grpc = Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3]
    repository = Path(tempfile.mkdtemp(dir=model.parent))
    version = repository / "model" / "1"
    version.mkdir(parents=True)
    for name, file in files.items():
        shutil.copy(file, version / name)
    session = onnxruntime.InferenceSession(model)
    given, gives = described(session.get_inputs()), described(session.get_outputs())
    config = CONFIG.format(backend=backend, runs=runs, inputs=given, outputs=gives, file=model)
    (version.parent / "config.pbtxt").write_text(config)
    # The stub of the Python back end links libpython and reads the standard library of the `python3` it finds first.
    # Where the system has another Python of the same minor version it must be led to this one's, or the two do not fit.
    libraries = (sysconfig.get_config_var("LIBDIR"), WHEEL.parent / "nvidia_pytriton.libs")
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, libraries))
    os.environ["PYTHONPATH"] = sysconfig.get_path("purelib")
    told = {
        "model-repository": repository,
        "backend-directory": back_ends,
        "http-address": "127.0.0.1",
        "http-port": port,
        "grpc-address": "127.0.0.1",
        "grpc-port": grpc,
        "allow-metrics": "false",
        "log-info": "false",
    }
    server = str(WHEEL / "tritonserver" / "bin" / "tritonserver")
    os.execv(server, [server, *(f"--{name}={value}" for name, value in told.items())])


def described(tensors):
    """Tensors as Triton's configuration has them, without their batch axis."""
    return ", ".join(f'{{ name: "{t.name}" data_type: {KINDS[t.type]} dims: {t.shape[1:]} }}' for t in tensors)


def python_back_end(folder):
    """The Python back end with the stub for this Python, as the wheel's own start puts them together."""
    python = folder / "python"
    shutil.copytree(WHEEL / "tritonserver" / "backends" / "python", python)
    stubs = WHEEL / "tritonserver" / "python_backend_stubs"
    shutil.copy(stubs / f"{sys.version_info[0]}.{sys.version_info[1]}" / "triton_python_backend_stub", python)
    return folder


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp(dir=Path(sys.argv[1]).parent))
    files = {"model.py": HERE / "triton_model.py", "session.py": HERE / "session.py"}
    serve("python", python_back_end(folder), files, runs="dynamic_batching { }")
