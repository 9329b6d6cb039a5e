"""One inference process that serves every identity model."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sill.endpoints.types import PlanToken
from sill.safety.tokens import digest
from sill.testing.identity_models import every_identity
from sill.testing.serving_models import TOKEN, make_signer
from sill.testing.serving_plane import ControlStandIn, InferenceUnderTest


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceUnderTest]:
    folder: Path = tmp_path_factory.mktemp("identities")
    zoo = every_identity(make_signer(folder))
    control = ControlStandIn(folder / "control")
    control.publish(zoo.plan(PlanToken(digest=digest(TOKEN), projects=("*",))), **zoo.bundles)
    control.start()
    plane = InferenceUnderTest(folder / "home", control)
    try:
        plane.start()
        yield plane
    finally:
        plane.kill()
        control.kill()
        plane.http.close()
