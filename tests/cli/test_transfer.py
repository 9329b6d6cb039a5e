"""`sill export` and `sill import`: what they say to a person and to a program, and what they refuse."""

from pathlib import Path

import pytest
from tests.cli.terminal import Terminal


@pytest.fixture
def exported(terminal: Terminal, tmp_path: Path) -> Path:
    """An export of the project."""
    folder = tmp_path / "out"
    assert (
        terminal.sill("-p", "default", "export", "mlflow", str(folder), "--journal", str(tmp_path / "out.db")).code == 0
    )
    return folder


def test_an_export_can_be_imported_and_both_count_what_they_took(
    terminal: Terminal, exported: Path, tmp_path: Path
) -> None:
    said = terminal.sill(
        "-p", "default", "import", "mlflow", str(exported), "--journal", str(tmp_path / "in.db"), "--json"
    )

    assert said.code == 0
    assert said.json["counts"]["experiments"] >= 1
    assert said.json["journal"] == str(tmp_path / "in.db")


def test_a_report_names_the_journal(terminal: Terminal, exported: Path, tmp_path: Path) -> None:
    said = terminal.sill("-p", "default", "import", "mlflow", str(exported), "--journal", str(tmp_path / "in.db"))

    assert "experiments" in said.out
    assert str(tmp_path / "in.db") in said.err


def test_a_place_that_is_none_is_refused(terminal: Terminal) -> None:
    terminal.sill("import", "mlflow", "not-there").refused("not_found", "not-there", "server's address")
    terminal.sill("export", "mlflow", "sqlite:///x.db").refused("invalid_value", "migrate-filestore")
