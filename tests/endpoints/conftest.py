"""A registry in a folder of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sill.core.clock import ManualClock
from sill.testing.platform import Platform, open_platform


@pytest.fixture
async def platform(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Platform]:
    with open_platform(tmp_path, ManualClock()) as opened:
        yield opened
