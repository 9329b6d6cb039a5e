"""Files of a store that came from elsewhere are read where the store lies, and nowhere else."""

from pathlib import Path

import pytest

from sill.core.errors import InvalidValue, Refused
from sill.transfer.local_files import LocalFiles


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "store" / "1" / "r" / "artifacts" / "dir").mkdir(parents=True)
    (tmp_path / "store" / "1" / "r" / "artifacts" / "dir" / "a.txt").write_text("kept")
    (tmp_path / "secret").write_text("not yours")
    return tmp_path / "store"


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_files_within_the_store_are_found_and_read(root: Path, form: str) -> None:
    files = LocalFiles([root])
    base = form.format(root / "1" / "r" / "artifacts")

    assert [(each.path, each.size_bytes) for each in files.files(base)] == [("dir/a.txt", 4)]
    with files.read(base, "dir/a.txt") as pieces:
        assert b"".join(pieces) == b"kept"


def test_a_folder_that_was_never_made_has_no_files(root: Path) -> None:
    assert list(LocalFiles([root]).files(str(root / "1" / "other" / "artifacts"))) == []


@pytest.mark.parametrize(
    "base", ["/etc", "file:///etc", "{}/../..", "s3://bucket/x", "file://host/etc", "http://host/x"]
)
def test_an_address_that_leads_out_is_refused(root: Path, base: str) -> None:
    with pytest.raises((Refused, InvalidValue)):
        list(LocalFiles([root]).files(base.format(root)))


def test_a_link_is_not_followed(root: Path) -> None:
    (root / "1" / "r" / "artifacts" / "link").symlink_to(root.parent / "secret")
    files = LocalFiles([root])
    base = str(root / "1" / "r" / "artifacts")

    assert [each.path for each in files.files(base)] == ["dir/a.txt"]
    with pytest.raises(InvalidValue), files.read(base, "link") as pieces:
        list(pieces)


def test_files_behind_a_server_are_found_in_the_folder_that_was_named(root: Path) -> None:
    base = "mlflow-artifacts:/1/r/artifacts"

    assert [each.path for each in LocalFiles([root.parent], root).files(base)] == ["dir/a.txt"]
    with pytest.raises(Refused, match="--artifacts"):
        list(LocalFiles([root]).files(base))
