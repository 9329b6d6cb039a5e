"""Registered models, from Python."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from sill.core.errors import NotFound
from sill.models.types import (
    AliasChange,
    Approval,
    BundleFiles,
    Freed,
    Inspected,
    ModelCard,
    ModelVersion,
    RegisteredModel,
    VersionSpec,
)
from sill.runs.training.types import Evaluation
from sill.runtimes.types import Signature
from sill.sdk.client import Client
from sill.sdk.pages import Page
from sill.sdk.trainings import Trainings


class Models:
    """Calls about registered models."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, *, after: str = "", limit: int = 100) -> Page[RegisteredModel]:
        """Registered models of the project."""
        query = {"after": after, "limit": limit}
        return self._client.call("GET", "/projects/{project}/models", Page[RegisteredModel], query=query)

    def get(self, model: str) -> RegisteredModel:
        """One registered model with its aliases."""
        return self._client.call("GET", f"/projects/{{project}}/models/{quote(model)}", RegisteredModel)

    def delete(self, model: str) -> None:
        """Forget a model whose versions were all deleted."""
        self._client.call("DELETE", f"/projects/{{project}}/models/{quote(model)}", None)

    def register(self, spec: VersionSpec, *, key: str = "") -> ModelVersion:
        """Register a version of uploaded files; the gate's verdict is in the answer."""
        path = f"/projects/{{project}}/models/{quote(spec.model)}/versions"
        return self._client.call("POST", path, ModelVersion, body=spec, key=key)

    def register_folder(
        self, model: str, folder: Path, runtime: str, signature: Signature, evaluation: Evaluation, **more: Any
    ) -> ModelVersion:
        """Upload a folder's files and register them as a version that `runtime` makes answer.

        Args:
            more: other fields of `VersionSpec`, such as `gate` or `note`.
        """
        spec = VersionSpec(
            model=model, files=self._upload(folder), runtime=runtime, signature=signature, evaluation=evaluation, **more
        )
        return self.register(spec)

    def inspect(self, path: Path, runtime: str = "") -> Inspected:
        """What a model's file or folder is: it is uploaded, and loaded in a confined process of the platform.

        Args:
            runtime: found out when left out.
        Raises:
            NotFound: there is nothing at this path.
        """
        body = BundleFiles(files=self._upload(path), runtime=runtime)
        return self._client.call("POST", "/projects/{project}/inspect", Inspected, body=body)

    def _upload(self, path: Path) -> dict[str, str]:
        """Path in the bundle → digest of a file, or of each in a folder; all uploaded."""
        store = Trainings(self._client).store_blob
        if path.is_file():
            return {path.name: store(path.read_bytes())}
        if not path.is_dir():
            raise NotFound(f"there is no file {str(path)!r}.", fix="Give the path of a model's file, or of a folder.")
        paths = sorted(each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts)
        return {each.relative_to(path).as_posix(): store(each.read_bytes()) for each in paths}

    def versions(self, model: str, *, after: str = "", limit: int = 100) -> Page[ModelVersion]:
        """Versions of a model, newest first."""
        query = {"after": after, "limit": limit}
        path = f"/projects/{{project}}/models/{quote(model)}/versions"
        return self._client.call("GET", path, Page[ModelVersion], query=query)

    def version(self, model: str, version: int) -> ModelVersion:
        """One version with its gate report."""
        return self._client.call("GET", _path(model, version), ModelVersion)

    def delete_version(self, model: str, version: int) -> Freed:
        """Delete a version that nothing uses, and free its space."""
        return self._client.call("DELETE", _path(model, version), Freed)

    def approve(self, model: str, version: int, approved: bool = True, reason: str = "") -> ModelVersion:
        """A person's word on a version that awaits it."""
        body = Approval(approved=approved, reason=reason)
        return self._client.call("POST", f"{_path(model, version)}/approve", ModelVersion, body=body)

    def card(self, model: str, version: int) -> str:
        """The model card, Markdown."""
        return self._client.call("GET", f"{_path(model, version)}/card", ModelCard).text

    def file(self, model: str, version: int, path: str) -> bytes:
        """One file of a version, checked against its signed manifest."""
        return self._client.call("GET", f"{_path(model, version)}/files/{quote(path)}", bytes)

    def set_alias(self, model: str, alias: str, version: int, *, expected: int | None = None) -> RegisteredModel:
        """Point an alias to a version; with `expected`, only if it points to that one now (0: to none)."""
        body = AliasChange(version=version, expected=expected)
        path = f"/projects/{{project}}/models/{quote(model)}/aliases/{alias}"
        return self._client.call("PUT", path, RegisteredModel, body=body)

    def delete_alias(self, model: str, alias: str) -> RegisteredModel:
        """Remove an alias; the version stays."""
        return self._client.call(
            "DELETE", f"/projects/{{project}}/models/{quote(model)}/aliases/{alias}", RegisteredModel
        )


def _path(model: str, version: int) -> str:
    return f"/projects/{{project}}/models/{quote(model)}/versions/{version}"
