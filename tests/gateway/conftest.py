"""A real gateway with two real replicas behind it, beside a control stand-in."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from sill.testing.serving_gateway import GatewayUnderTest
from sill.testing.serving_models import Bundle, classifier, make_signer, plan
from sill.testing.serving_plane import ControlStandIn, serving


def gateway_in(
    folder: Path, make: Callable[[Path, ControlStandIn], GatewayUnderTest] = GatewayUnderTest
) -> AbstractContextManager[GatewayUnderTest]:
    """A gateway whose replicas answer, as long as the block lasts."""
    signer = make_signer(folder)
    bundle = Bundle(signer, classifier())
    return serving(folder, plan(signer, 1, bundle.revision(1, 100)), {"v1": bundle}, make)


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayUnderTest]:
    """One for all tests."""
    with gateway_in(tmp_path_factory.mktemp("gateway")) as under_test:
        yield under_test
