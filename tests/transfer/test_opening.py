"""A place is a server, a folder or a SQLite file, told apart by what it is; anything else is refused with what is allowed."""

from pathlib import Path

import pytest

from sill.core.errors import Conflict, InvalidValue, NotFound
from sill.transfer.file_source import FileSource
from sill.transfer.opening import open_source, open_target
from sill.transfer.rest_source import RestSource


def test_a_servers_address_is_told_without_its_password() -> None:
    source = open_source("http://ada:secret@127.0.0.1:5000/")
    source.close()

    assert isinstance(source, RestSource)
    assert source.address == "http://127.0.0.1:5000"


def test_a_folder_with_mlruns_is_read_from_there(tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()

    assert isinstance(open_source(str(tmp_path)), FileSource)
    assert open_source(str(tmp_path)).address == (tmp_path / "mlruns").as_uri()


@pytest.mark.parametrize("place", ["absent", "absent.db", "sqlite:///absent.db"])
def test_a_place_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(NotFound, match="absent"):
        open_source(place)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"text" * 600)

    with pytest.raises(InvalidValue, match="no SQLite file"):
        open_source(str(tmp_path / "x.db"))


def test_another_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="MLflow server"):
        open_source("postgresql://host/mlflow")


def test_an_export_does_not_go_into_a_folder_with_other_things(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")

    with pytest.raises(Conflict, match="not empty"):
        open_target(str(tmp_path))


def test_an_export_goes_on_in_its_own_folder(tmp_path: Path) -> None:
    open_target(str(tmp_path / "out")).close()

    assert open_target(str(tmp_path / "out")).address == (tmp_path / "out").as_uri()
