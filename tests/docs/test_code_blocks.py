"""Every Python and shell block of the documentation runs, in order, against a real platform, and prints what it says."""

from pathlib import Path

import pytest

from sill.sdk.client import Client
from sill.sdk.governance import Governance
from sill.testing.pages import NOT_RUN, ROOT, blocks, missing_lines, pages, run, script, text_of, with_example

RUNNABLE = [page for page in pages() if any(block.is_run for block in blocks(page))]
LANGUAGES = ("python", "sh", "text", "yaml", "json", "toml")
REASON_LENGTH_MIN = 10


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_of_a_page_run_and_print_what_they_say(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    # README comes first and makes the example's project itself; other pages find it made.
    request.getfixturevalue("platform" if page.name == "README.md" else "example")
    folder = with_example(tmp_path)
    with script() as names:
        for block in (block for block in blocks(page) if block.is_run):
            printed = run(block, folder, names)
            assert missing_lines(block.prints, printed) == [], f"{block.place} printed:\n{printed}"


@pytest.mark.usefixtures("example")
def test_every_event_that_the_examples_left_is_documented() -> None:
    # Runs behind the pages: whatever kinds of events they made stand in the list.
    with script() as names:
        names["client"] = Client()
        seen = {event.kind for event in Governance(names["client"]).events(limit=1_000).items}

    assert {kind for kind in seen if f"`{kind}`" not in text_of("docs/architecture.md")} == set()


def test_blocks_that_are_not_run_say_why() -> None:
    firsts = [
        (block.place, block.code.partition("\n")[0].removeprefix(NOT_RUN))
        for page in pages()
        for block in blocks(page)
        if block.language in ("python", "sh") and not block.is_run
    ]

    assert [place for place, reason in firsts if len(reason) < REASON_LENGTH_MIN] == []


def test_blocks_say_their_language() -> None:
    silent = [block.place for page in pages() for block in blocks(page) if block.language not in LANGUAGES]

    assert silent == []
