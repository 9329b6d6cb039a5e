"""One inference process that serves every identity model."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sill.testing.identity_models import every_identity
from sill.testing.serving_models import make_signer
from sill.testing.serving_plane import InferenceUnderTest, serving


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceUnderTest]:
    folder: Path = tmp_path_factory.mktemp("identities")
    zoo = every_identity(make_signer(folder))
    with serving(folder, zoo.plan(), zoo.bundles, InferenceUnderTest) as plane:
        yield plane
