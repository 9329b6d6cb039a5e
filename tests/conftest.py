"""Shared fixtures: async tests run on asyncio; property tests have no deadline, because machines differ.

Tests marked `peer("NAME")` run last, while the environments they need are made beside the others.
"""

import signal

import pytest
from hypothesis import HealthCheck, settings

from sill.testing.peers import prepare

pytest_plugins = ["sill.testing.servers"]  # postgres_url, s3_url, redis_url: real servers, started on first use

settings.register_profile("sill", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sill")

# A shell that runs the suite in the background has it, and all it starts, ignore Ctrl-C; tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Last of all: by then `-m` and `-k` have taken away what is not run.
    needed = {name for item in items for mark in item.iter_markers("peer") for name in mark.args}
    if needed and not config.option.collectonly:
        prepare(*sorted(needed))
    items.sort(key=lambda item: item.get_closest_marker("peer") is not None)
