"""A journal belongs to one transfer at a time, and knows what was done after the process was ended."""

from pathlib import Path

import pytest

from sill.core.errors import Conflict, InvalidValue
from sill.transfer.journal import Journal


def test_what_was_noted_is_known_in_the_next_attempt(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db", "from", "to")
    journal.note("run", "a", "run-1")
    journal.note("file", "a/x", size=5, is_lasting=False)
    journal.close()

    again = Journal(tmp_path / "j.db", "from", "to")
    assert (again.get("run", "a"), again.get("run", "b"), again.count("file")) == ("run-1", None, (1, 5))
    again.close()


def test_a_journal_of_another_transfer_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "j.db", "from", "to").close()

    with pytest.raises(Conflict, match="from from to to"):
        Journal(tmp_path / "j.db", "from", "elsewhere")


def test_two_processes_do_not_share_a_journal(tmp_path: Path) -> None:
    first = Journal(tmp_path / "j.db", "from", "to")

    with pytest.raises(Conflict, match="in use"):
        Journal(tmp_path / "j.db", "from", "to")
    first.close()


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j.db").write_bytes(b"not a database, but a text that is long enough" * 40)

    with pytest.raises(InvalidValue, match="no journal"):
        Journal(tmp_path / "j.db", "from", "to")
