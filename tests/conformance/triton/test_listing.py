"""Every test that these pages name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("page", ["conformance-triton.md", "safety.md"])
def test_a_listing_names_tests_that_exist(page: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / page).read_text())
    missing = [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]

    assert len(named) >= 15
    assert missing == []
