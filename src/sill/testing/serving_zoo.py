"""Many endpoints in one plan, each with a model of its own, for tests that ask many."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sill.endpoints.types import PlanEndpoint, PlanToken, ServingPlan
from sill.runtimes.types import Signature
from sill.safety.signing import Signer
from sill.safety.tokens import digest
from sill.testing.serving_models import TOKEN, Bundle

ADMIN = "sill_" + "a" * 43
"""May load and unload."""
OTHER = "sill_" + "o" * 43
"""May ask project `shop` alone, which has no endpoint."""


class Zoo:
    """Endpoints of project `default`, and the plan that serves them."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.bundles: dict[str, Bundle] = {}
        self._endpoints: list[PlanEndpoint] = []

    def add(
        self,
        name: str,
        model: bytes | Mapping[str, bytes],
        signature: Signature,
        runtime: str = "onnx",
        **fields: Any,
    ) -> None:
        """One endpoint with one version, whose number is its own: the stand-in keeps files by version.

        Args:
            model, runtime: see `Bundle`.
            fields: of the endpoint, such as its `project`.
        """
        bundle, number = Bundle(self._signer, model, signature, runtime), len(self._endpoints) + 1
        self.bundles[f"v{number}"] = bundle
        given: dict[str, Any] = {"project": "default", "log_sample": 1.0, "log_payload": True, "model": name}
        self._endpoints.append(PlanEndpoint(name=name, revisions=(bundle.revision(number, 100),), **(given | fields)))

    def plan(self) -> ServingPlan:
        """The plan; `TOKEN` may ask every project, `OTHER` one of its own, `ADMIN` may load and unload."""
        return ServingPlan(
            revision=1,
            endpoints=tuple(self._endpoints),
            tokens=(
                PlanToken(digest=digest(TOKEN), projects=("*",)),
                PlanToken(digest=digest(OTHER), projects=("shop",)),
                PlanToken(digest=digest(ADMIN), projects=("*",), may_admin=True),
            ),
            public_key=self._signer.public_key_pem(),
        )


def files_in(folder: Path) -> dict[str, bytes]:
    """A model's files by their paths, as `Zoo.add` takes them."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
