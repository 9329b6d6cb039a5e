"""Paths that tenants give: nothing outside the folder is reached, nothing but files and folders opened."""

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.core.errors import Conflict, InvalidValue, NotFound, SillError
from sill.safety.paths import Folder, check_relative


@pytest.fixture(params=["openat2", "walk"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    (tmp_path / "secret").write_text("outside")
    return Folder(tmp_path / "root", by_walk=request.param == "walk")


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "/etc/passwd",
        "a/",
        "a//b",
        "../secret",
        "a/../../secret",
        "a/./b",
        "a\\b",
        "..\\secret",
        "a\x00b",
        "a\nb",
        "a\x1b[0m",
        "\u202eevil",
        "a\ud800",
        "C:/x",
        "x" * 256,
        "ä" * 128,
        "/".join("x" * 33),
        "x/" * 600 + "x",
    ],
)
def test_path_outside_the_grammar_is_refused(folder: Folder, path: str) -> None:
    for act in (folder.open, folder.create, folder.remove, folder.stat, folder.make_folder, check_relative):
        with pytest.raises(InvalidValue):
            act(path)  # type: ignore[operator]


def test_what_was_created_is_read_back_listed_and_removed(folder: Folder) -> None:
    with folder.create("a/b/c.txt") as file:
        file.write(b"hello")
    with folder.open("a/b/c.txt") as file:
        assert file.read() == b"hello"
    assert (folder.list(), folder.list("a"), list(folder.walk())) == (["a"], ["b"], ["a/b/c.txt"])
    folder.remove("a/b/c.txt")
    assert folder.list("a/b") == []


def test_files_and_folders_are_only_the_owners(folder: Folder) -> None:
    folder.create("a/b").close()
    assert stat.S_IMODE(folder.stat("a/b").st_mode) == 0o600
    assert stat.S_IMODE(folder.stat("a").st_mode) == 0o700


def test_write_replaces_and_append_appends(folder: Folder) -> None:
    for mode, text in (("wb", b"first"), ("wb", b"2"), ("ab", b"3")):
        with folder.open("a/b", mode) as file:  # type: ignore[arg-type]
            file.write(text)
    assert folder.stat("a/b").st_size == 2


def test_create_refuses_what_is_there(folder: Folder) -> None:
    folder.create("a").close()
    with pytest.raises(Conflict):
        folder.create("a")


@pytest.mark.parametrize("path", ["link", "door/secret", "door/new"])
def test_links_are_never_followed(folder: Folder, path: str) -> None:
    (folder.root / "link").symlink_to(folder.root.parent / "secret")
    (folder.root / "door").symlink_to(folder.root.parent)
    for act in (folder.open, folder.create, folder.stat, lambda path: folder.open(path, "wb")):
        with pytest.raises((InvalidValue, Conflict)):
            act(path)
    assert (folder.root.parent / "secret").read_text() == "outside"
    assert not (folder.root.parent / "new").exists()


def test_link_inside_the_folder_is_refused_too(folder: Folder) -> None:
    folder.create("file").close()
    (folder.root / "link").symlink_to("file")
    with pytest.raises(InvalidValue):
        folder.open("link")
    assert folder.list() == ["file"]


def test_removing_a_link_leaves_its_target(folder: Folder) -> None:
    (folder.root / "link").symlink_to(folder.root.parent / "secret")
    folder.remove("link")
    assert (folder.root.parent / "secret").exists()


@pytest.mark.timeout(5)
@pytest.mark.parametrize("mode", ["rb", "wb", "ab", "r+b"])
def test_fifo_is_refused_without_waiting(folder: Folder, mode: str) -> None:
    os.mkfifo(folder.root / "pipe")
    with pytest.raises(InvalidValue):
        folder.open("pipe", mode)  # type: ignore[arg-type]


def test_socket_and_folder_are_not_files(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.make_folder("sub")
    monkeypatch.chdir(folder.root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
        for path in ("sock", "sub"):
            with pytest.raises(InvalidValue):
                folder.open(path)


def test_absent_file_is_not_found(folder: Folder) -> None:
    for act in (folder.open, folder.stat, folder.remove, folder.list):
        with pytest.raises(NotFound):
            act("a/b")  # type: ignore[operator]


def test_folder_that_is_not_empty_stays(folder: Folder) -> None:
    folder.create("a/b").close()
    with pytest.raises(Conflict):
        folder.remove("a")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["..", ".", "", "a", "/", "\\", "\x00", "door", "link", "etc"]), max_size=6))
def test_no_path_reaches_outside(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    base = tmp_path_factory.getbasetemp() / "property"
    folder = Folder(base / "root")
    if not (folder.root / "door").is_symlink():
        (folder.root / "door").symlink_to(base)
    with suppress(SillError):
        folder.open("/".join(parts), "wb").close()
    assert sorted(path.name for path in base.iterdir()) == ["root"]
