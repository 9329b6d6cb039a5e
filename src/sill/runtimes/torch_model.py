"""A PyTorch exported program (`torch.export.save`) behind the port, in a process of its own.

`torch.export.load` unpickles three kinds of parts: sample inputs, weights marked so, and custom objects. None of them
reaches it: an archive with the latter two is refused, and the sample inputs are left out of the copy it is given.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from sill.core.errors import InvalidValue, Refused
from sill.core.names import shorten
from sill.runtimes.drivers import MODEL_BYTES_MAX, Held, cannot_load, library, read_model
from sill.runtimes.fitting import DATATYPES, fit, unanswerable
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.strict_json import decode_any

MODEL_FILE = "model.pt2"
PARTS_MAX = 100_000
_FIX = "Save it with torch.export.save; tensors of plain types, no custom objects."
_PLAIN = (
    "archive_format",
    "archive_version",
    "byteorder",
    ".data/serialization_id",
    ".data/version",
    "models/model.json",
)
_TENSORS = ("data/weights/weight_", "data/constants/tensor_")
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_SAMPLES = "data/sample_inputs/model.pt"


class TorchProgram(Held):
    """One exported program. Its inputs are the names of its `forward`; several outputs are `output_0`, `output_1` ..."""

    model_file = MODEL_FILE

    def __init__(self) -> None:
        super().__init__()
        self._form: Any = None
        self._device = "cpu"

    @staticmethod
    def warm() -> None:
        """See `Driver.warm`. What the library imports only when it loads a first program takes seconds: that is done here."""
        torch = library("torch", "torch")
        torch.set_num_threads(1)
        made = io.BytesIO()
        torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.zeros(2),)), made)
        torch.export.load(io.BytesIO(made.getvalue())).module()

    @staticmethod
    def look(file: BinaryIO) -> bytes:
        """See `Held`."""
        return safe_archive(file)

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """See `Runtime.load`."""
        data = read_model(bundle, MODEL_FILE)
        safe = safe_archive(io.BytesIO(data))
        torch = library("torch", "torch")
        torch.set_num_threads(1)
        try:
            program = torch.export.load(io.BytesIO(safe))
        except Exception as broken:  # the library raises its own classes, all of them about this file
            raise cannot_load("PyTorch", broken, _FIX) from broken
        self._signature = _signature(torch, program)
        self._form = program.call_spec.in_spec
        self._model = program.module().to(device)
        self._device, self._size_bytes = device, len(data)

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Runtime.infer`."""
        import torch

        signature = self.signature()
        fed = fit(signature.inputs, inputs)
        given = [torch.from_numpy(array.copy()).to(self._device) for array in fed.values()]
        args, kwargs = torch.utils._pytree.tree_unflatten(given, self._form)
        try:
            with torch.inference_mode():
                answer = self._model(*args, **kwargs)
        except Exception as refused:  # the library raises its own classes, all of them about this input
            raise unanswerable(refused) from refused
        tensors = [answer] if isinstance(answer, torch.Tensor) else list(answer)
        return {spec.name: made.cpu().numpy() for spec, made in zip(signature.outputs, tensors, strict=True)}


def safe_archive(file: BinaryIO) -> bytes:
    """The archive again, without its sample inputs and with nothing in it that would be unpickled.

    Raises:
        InvalidValue: no sound zip, a part that is not on our list, or a configuration that asks for pickle.
    """
    made = io.BytesIO()
    try:
        with zipfile.ZipFile(file) as given, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
            for part in _parts(given):
                content = b"" if _inner(part) == _SAMPLES else given.read(part)  # no bytes: the library takes none
                if _inner(part) in _CONFIGS:
                    _check_config(content, _inner(part))
                archive.writestr(part.filename, content)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as wrong:
        raise _refused(f"it is no sound zip file ({shorten(str(wrong))})") from wrong
    return made.getvalue()


def _parts(given: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The parts of an archive, each of a name on our list; stored as they are, so that none grows."""
    parts = given.infolist()
    names = {part.filename for part in parts}
    if len(parts) > PARTS_MAX or len(names) != len(parts) or sum(part.file_size for part in parts) > MODEL_BYTES_MAX:
        raise _refused(f"it has more than {PARTS_MAX} parts or {MODEL_BYTES_MAX} bytes, or a name twice")
    if len({part.filename.partition("/")[0] for part in parts}) != 1:
        raise _refused("its parts do not lie in one folder")
    for part in parts:
        inner = _inner(part)
        if inner not in (*_PLAIN, *_CONFIGS, _SAMPLES) and not inner.startswith(_TENSORS):
            raise _refused(f"its part {shorten(inner or part.filename)!r} is not one that is loaded")
        if part.compress_type != zipfile.ZIP_STORED or part.compress_size != part.file_size:
            raise _refused(f"its part {shorten(inner)!r} is packed")
    return parts


def _inner(part: zipfile.ZipInfo) -> str:
    return part.filename.partition("/")[2]


def _check_config(content: bytes, name: str) -> None:
    read = decode_any(content)
    parts = read.get("config") if isinstance(read, dict) else None
    if not isinstance(parts, dict):
        raise _refused(f"{name} is not the one PyTorch writes")
    for part in parts.values():
        is_tensor = isinstance(part, dict) and str(part.get("path_name", "")).startswith(("weight_", "tensor_"))
        if not is_tensor or part.get("use_pickle") is not False:
            raise _refused("it has a part that would be unpickled")


def _signature(torch: Any, program: Any) -> Signature:
    given = program.graph_signature
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    result = next(node for node in program.graph.nodes if node.op == "output").args[0]
    inputs = tuple(_tensor(torch, name, values.get(name)) for name in given.user_inputs)
    made = [values.get(name) for name in given.user_outputs]
    names = ["output"] if len(made) == 1 else [f"output_{place}" for place in range(len(made))]
    if len(result) < len(made):
        raise Refused("the program's outputs are not plain tensors.", fix=_FIX)
    outputs = tuple(_tensor(torch, name, value) for name, value in zip(names, made, strict=True))
    return Signature(inputs=inputs, outputs=outputs, task="other")


def _tensor(torch: Any, name: Any, value: Any) -> TensorSpec:
    kind = str(value.dtype).removeprefix("torch.") if isinstance(value, torch.Tensor) else ""
    if not isinstance(name, str) or kind not in DATATYPES:
        raise Refused(f"{shorten(str(name))!r} is no tensor of a plain type.", fix=_FIX)
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return TensorSpec(name=name, datatype=DATATYPES[kind], shape=shape)


def _refused(why: str) -> InvalidValue:
    return InvalidValue(f"the PyTorch archive is not accepted: {why}.", fix=_FIX, field="model")
