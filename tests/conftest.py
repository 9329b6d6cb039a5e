"""Shared fixtures: async tests run on asyncio; property tests have no deadline, because machines differ."""

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["sill.testing.servers"]  # postgres_url, s3_url, redis_url: real servers, started on first use

settings.register_profile("sill", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sill")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
