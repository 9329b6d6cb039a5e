"""Shared fixtures: async tests run on asyncio; each test has its own home."""

import pytest

pytest_plugins = ["sill.testing.servers"]  # postgres_url, s3_url, redis_url: real servers, started on first use


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
