"""What a model's `MLmodel` file says it takes to load it: which flavours there are, and which runtime of ours takes one.

The file is read as plain YAML data; nothing it names is imported, opened or run.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from sill.core.names import shorten
from sill.models.types import Loadability

MLMODEL_FILE = "MLmodel"
MLMODEL_BYTES_MAX = 1024 * 1024
FLAVORS_MAX = 100
NODES_MAX = 50_000
"""Most values an `MLmodel` file may hold."""
PYFUNC = "python_function"


class _Form(NamedTuple):
    """What of a flavour a runtime loads.

    Attributes:
        key: the flavour's field that names the file.
        file: what follows that field's value, where it names a folder.
        remedy: what to do about a model of the flavour that is kept in another way.
        is_folder: all that lies beside the file belongs to the model.
    """

    runtime: str
    key: str
    endings: tuple[str, ...]
    file: str = ""
    remedy: str = ""
    is_folder: bool = False


SERVED = {
    "onnx": _Form("onnx", "data", (".onnx",), remedy="log one file, with save_as_external_data=False"),
    "xgboost": _Form("xgboost", "data", (".ubj", ".json"), remedy="log it with model_format='ubj'"),
    "lightgbm": _Form("lightgbm", "data", (".lgb", ".txt"), remedy="log its booster: log_model(model.booster_)"),
    "sklearn": _Form("skops", "pickled_model", (".skops",), remedy="log it with serialization_format='skops'"),
    "pytorch": _Form("torch", "model_data", (".pt2",), "/model.pt2", "log it with serialization_format='pt2'"),
    "tensorflow": _Form(
        "tensorflow",
        "saved_model_dir",
        ("saved_model.pb",),
        "/saved_model.pb",
        "log it as a tf.Module with a signature serving_default of plain tensors; a Keras model writes one by export",
        is_folder=True,
    ),
}
"""MLflow's flavours that need no unpickling, by what they are called; the first that a model has is taken."""
_PICKLED = ("pickle", "cloudpickle", "joblib", "dill")
_FORMATS = ("serialization_format", "model_format", "save_format", "data", "model_data", "pickled_model", "model_path")
_ENDINGS = (".pkl", ".pickle", ".joblib", ".pth", ".pt", ".cloudpickle")


def judge(text: bytes) -> Loadability:
    """Whether the platform may ever load the model that this `MLmodel` file describes, and with which runtime.

    What would have to be unpickled, or runs somebody's code, it never is.
    """
    described = _read(text)
    found = described.get("flavors") if described is not None else None
    if not isinstance(found, dict) or not found:
        return Loadability(is_loadable=False, reason=f"its {MLMODEL_FILE} file cannot be read.")
    flavors = tuple(sorted(shorten(str(name), 100) for name in found))[:FLAVORS_MAX]
    for name, form in SERVED.items():
        if path := _path(form, found.get(name)):
            return Loadability(
                is_loadable=True, flavors=flavors, path=path, runtime=form.runtime, is_folder=form.is_folder
            )
    return Loadability(is_loadable=False, reason=_reason(found, flavors), flavors=flavors)


def not_there(judged: Loadability) -> Loadability:
    """The verdict on a model whose file is not where its flavour says a readable one is: it was kept in another way."""
    remedy = next(form.remedy for form in SERVED.values() if form.runtime == judged.runtime)
    reason = f"it has no {shorten(judged.path)}, so it is kept in a way that must be unpickled; {remedy}."
    return Loadability(is_loadable=False, reason=reason, flavors=judged.flavors)


def features_of(text: bytes) -> tuple[str, ...]:
    """Names of the columns that the model takes, as its `MLmodel` file says; none if it has none."""
    described = _read(text) or {}
    signature = described.get("signature")
    inputs = signature.get("inputs") if isinstance(signature, dict) else None
    try:
        columns = msgspec.json.decode(inputs, type=list[dict[str, Any]]) if isinstance(inputs, str) else []
    except msgspec.DecodeError:
        return ()
    names = tuple(str(column["name"]) for column in columns if "name" in column)
    return names if len(names) == len(columns) else ()


def _reason(found: Mapping[Any, Any], flavors: tuple[str, ...]) -> str:
    pickled = sorted(str(name) for name, about in found.items() if _is_pickled(about))
    why = (
        f"flavours that must be unpickled: {', '.join(pickled)}"
        if pickled
        else f"no flavour that is data alone, only {', '.join(flavors)}"
    )
    remedy = next((form.remedy for name, form in SERVED.items() if name in found), "")
    return f"{shorten(why, 400)}; such files are kept and never loaded{remedy and f': {remedy}'}."


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


def _path(form: _Form, about: Any) -> str:
    """The one file of a flavour, relative to the model; empty if it has none that is data alone."""
    value = about.get(form.key) if isinstance(about, dict) else None
    path = f"{value}{form.file}" if isinstance(value, str) and not value.endswith(_ENDINGS) else ""
    return path if path.endswith(form.endings) else ""


def _is_pickled(about: Any) -> bool:
    if not isinstance(about, Mapping):
        return False
    texts = [str(value).lower() for key, value in about.items() if key in _FORMATS or key == "python_model"]
    return any(word in text for text in texts for word in _PICKLED) or any(text.endswith(_ENDINGS) for text in texts)
