"""Every test that docs/conformance-triton.md names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "conformance-triton.md").read_text())


def test_the_listing_names_tests_that_exist() -> None:
    missing = [name for file, name in NAMED if f"def {name}(" not in (ROOT / file).read_text()]

    assert len(NAMED) >= 15
    assert missing == []
