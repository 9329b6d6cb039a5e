"""How MLflow lays a tracking store out in a folder (`mlruns`): names of folders, and its small YAML files."""

from collections.abc import Mapping
from typing import Any

from sill.core.errors import NotFound
from sill.safety.paths import Folder

META = "meta.yaml"
TRASH, REGISTRY = ".trash", "models"
METRICS, PARAMS, TAGS, FILES = "metrics", "params", "tags", "artifacts"
DATASETS, INPUTS, OUTPUTS, MODELS, ALIASES, TRACES = "datasets", "inputs", "outputs", "models", "aliases", "traces"
YAML_BYTES_MAX = 16 * 1024 * 1024
"""A dataset's profile is the longest there is."""
TEXT_BYTES_MAX = 1024 * 1024
LOGGED_MODEL_STATUSES = (
    "LOGGED_MODEL_STATUS_UNSPECIFIED",
    "LOGGED_MODEL_PENDING",
    "LOGGED_MODEL_READY",
    "LOGGED_MODEL_UPLOAD_FAILED",
)
"""By the numbers that MLflow's stores keep."""


def read_meta(folder: Folder, at: str) -> dict[str, Any] | None:
    """What a folder's `meta.yaml` says; None if there is none, or it is not what it should be."""
    import yaml  # tens of milliseconds, needed by imports only

    try:
        with folder.open(f"{at}/{META}") as file:
            read = yaml.safe_load(file.read(YAML_BYTES_MAX))
    except (NotFound, yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


def write_meta(folder: Folder, at: str, values: Mapping[str, Any]) -> None:
    """Write a folder's `meta.yaml`; the folder is made."""
    import yaml

    with folder.open(f"{at}/{META}", "wb") as file:
        file.write(yaml.safe_dump(dict(values), default_flow_style=False, allow_unicode=True).encode())


def folders(folder: Folder, at: str = "") -> list[str]:
    """Names of what lies in a folder; none if it is not there."""
    try:
        return folder.list(at)
    except NotFound:
        return []


def read_texts(folder: Folder, at: str) -> dict[str, str]:
    """Keys and values of a folder in which each key is a file; a `/` in a key is a folder."""
    found: dict[str, str] = {}
    try:
        for path in folder.walk(at):
            with folder.open(path) as file:
                found[path.removeprefix(f"{at}/")] = file.read(TEXT_BYTES_MAX).decode(errors="replace")
    except NotFound:
        pass
    return found


def write_texts(folder: Folder, at: str, texts: Mapping[str, str]) -> None:
    """The reverse."""
    folder.make_folder(at)
    for key, value in texts.items():
        with folder.open(f"{at}/{key}", "wb") as file:
            file.write(value.encode())
