"""How often the control plane is asked to take rows."""

import pytest

from sill.traffic.shipping import SHIP_S, SHIP_S_MAX, SHIPPING_SHARE_MAX, pause_s


@pytest.mark.parametrize(
    ("took_s", "wanted_s"),
    [(0.001, SHIP_S), (0.04, 0.04 * (1 / SHIPPING_SHARE_MAX - 1)), (60.0, SHIP_S_MAX)],
)
def test_a_control_plane_that_takes_longer_is_asked_less_often(took_s: float, wanted_s: float) -> None:
    assert pause_s(took_s) == pytest.approx(wanted_s)
