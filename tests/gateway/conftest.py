"""A real gateway with two real replicas behind it, beside a control stand-in."""

from collections.abc import Iterator

import pytest

from sill.testing.serving_gateway import GatewayUnderTest
from sill.testing.serving_models import Bundle, classifier, make_signer, plan
from sill.testing.serving_plane import ControlStandIn


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayUnderTest]:
    """A gateway whose two replicas answer."""
    folder = tmp_path_factory.mktemp("gateway")
    signer = make_signer(folder)
    bundle = Bundle(signer, classifier())
    control = ControlStandIn(folder / "control")
    control.publish(plan(signer, 1, bundle.revision(1, 100)), v1=bundle)
    control.start()
    under_test = GatewayUnderTest(folder / "home", control)
    try:
        under_test.start()
        yield under_test
    finally:
        under_test.stop()
        control.kill()
        under_test.http.close()
