"""Shared fixtures: async tests run on asyncio; each test has its own home."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
