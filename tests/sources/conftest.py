"""A reader of one file on this machine, without a server: content in, unified table out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sill.safety.addresses import Allowed
from sill.safety.outbound import Outbound
from sill.sources.fetching import Fetcher
from sill.sources.limits import DEFAULT_LIMITS, ReadLimits
from sill.sources.reading import read_source
from sill.sources.types import Source
from sill.sources.unify import Unified

Read = Callable[..., Unified]
DIGEST = "0" * 64


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """`read(content, "name.csv", **source)`: what a source with that content becomes."""

    def run(content: bytes | str, name: str = "data.csv", limits: ReadLimits = DEFAULT_LIMITS, **source: Any) -> Unified:
        blob = tmp_path / "blob"
        blob.write_bytes(content.encode() if isinstance(content, str) else content)
        workspace = tmp_path / f"workspace-{len(list(tmp_path.iterdir()))}"
        workspace.mkdir()
        fetcher = Fetcher(workspace, lambda digest: blob.open("rb"), Outbound(), limits, {})
        given = Source(url=f"upload://{DIGEST}/{name}", **source)
        return read_source(given, "", fetcher, Allowed(), limits)

    return run
