"""What a model's `MLmodel` file says it takes to load it: which flavours there are, and whether any needs no unpickling.

The file is read as plain YAML data; nothing it names is imported, opened or run.
"""

from collections.abc import Mapping
from typing import Any

from sill.core.names import shorten
from sill.models.types import Loadability

MLMODEL_FILE = "MLmodel"
MLMODEL_BYTES_MAX = 1024 * 1024
FLAVORS_MAX = 100
NODES_MAX = 50_000
"""Most values an `MLmodel` file may hold."""
ONNX = "onnx"
PYFUNC = "python_function"
_PICKLED = ("pickle", "cloudpickle", "joblib", "dill")
_FORMATS = ("serialization_format", "model_format", "save_format", "data", "model_data", "pickled_model", "model_path")
_ENDINGS = (".pkl", ".pickle", ".joblib", ".pth", ".pt", ".cloudpickle")


def judge(text: bytes) -> Loadability:
    """Whether the platform may ever load the model that this `MLmodel` file describes.

    Only an ONNX file is: everything else would have to be unpickled, or run somebody's code.
    """
    described = _read(text)
    found = described.get("flavors") if described is not None else None
    if not isinstance(found, dict) or not found:
        return Loadability(is_loadable=False, reason=f"its {MLMODEL_FILE} file cannot be read.")
    flavors = tuple(sorted(shorten(str(name), 100) for name in found))[:FLAVORS_MAX]
    path = _onnx_path(found.get(ONNX))
    if path:
        return Loadability(is_loadable=True, flavors=flavors, path=path)
    pickled = sorted(str(name) for name, about in found.items() if _is_pickled(about))
    why = (
        f"flavours that must be unpickled: {', '.join(pickled)}"
        if pickled
        else f"no flavour that is data alone, only {', '.join(flavors)}"
    )
    return Loadability(
        is_loadable=False, reason=f"{shorten(why, 500)}; such files are kept and never loaded.", flavors=flavors
    )


def _read(text: bytes) -> dict[str, Any] | None:
    """The YAML document, or None if it is none, is too large, or repeats itself by aliases (which can grow without end)."""
    import yaml  # tens of milliseconds, needed by those who register MLflow models only

    try:
        for count, token in enumerate(yaml.scan(text, Loader=yaml.SafeLoader)):
            if count > NODES_MAX or isinstance(token, yaml.AliasToken):
                return None
        read = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError):
        return None
    return read if isinstance(read, dict) else None


def _onnx_path(about: Any) -> str:
    """The one file of the ONNX flavour, relative to the model; empty if it has none, or several."""
    path = about.get("data") if isinstance(about, dict) else None
    return path if isinstance(path, str) and path.endswith(".onnx") else ""


def _is_pickled(about: Any) -> bool:
    if not isinstance(about, Mapping):
        return False
    texts = [str(value).lower() for key, value in about.items() if key in _FORMATS or key == "python_model"]
    return any(word in text for text in texts for word in _PICKLED) or any(text.endswith(_ENDINGS) for text in texts)
