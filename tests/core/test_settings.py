"""Settings come from the environment, all of them documented."""

import pytest

from sill.core.errors import InvalidValue
from sill.core.settings import SETTINGS_HELP, Settings, read_settings


def test_every_setting_has_a_help_text() -> None:
    assert set(SETTINGS_HELP) == set(Settings.__struct_fields__)


def test_the_inference_port_follows_the_control_port() -> None:
    assert read_settings({"SILL_PORT": "8000"}).inference_port == 8001


@pytest.mark.parametrize(
    "variable", [{"SILL_PORT": "0"}, {"SILL_PORT": "x"}, {"SILL_CPUS": "-1"}, {"SILL_SQL_SECONDS_MAX": "0"}]
)
def test_a_wrong_value_is_refused_with_its_name(variable: dict[str, str]) -> None:
    with pytest.raises(InvalidValue):
        read_settings(variable)


def test_an_empty_variable_means_the_default() -> None:
    assert read_settings({"SILL_PORT": ""}).port == 7455
