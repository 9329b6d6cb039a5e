"""A backup is everything: what is restored from it answers as the old one did. What is not one is refused."""

import io
import os
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sill.testing.live import PROJECT, Live, ask, fill

AT = f"/api/v1/projects/{PROJECT}"
LOOKED_AT = [
    *(
        "",
        "/tables",
        "/tables/thing/rows",
        "/ingestions",
        "/features",
        "/trainings",
        "/pipelines",
        "/models",
        "/secrets",
    ),
    *("/models/thing/versions", "/models/thing/versions/1/files/model.onnx", "/endpoints", "/monitors/thing"),
    "/costs?until_us=4000000000000000",
]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A platform with one of everything, whose run is over."""
    platform = Live(tmp_path_factory.mktemp("backup") / "home")
    try:
        platform.start()
        fill(platform)
        with platform.client("root") as client:
            ask(client, "POST", f"/projects/{PROJECT}/runs/{platform.run_id}/cancel")
            ask(client, "PUT", f"/projects/{PROJECT}/secrets/thing", {"value": "still known"})
            while ask(client, "GET", f"/projects/{PROJECT}/runs/{platform.run_id}")["state"] != "cancelled":
                time.sleep(0.05)
        yield platform
    finally:
        platform.stop()


@pytest.fixture(scope="module")
def backup(old: Live, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its backup."""
    path = tmp_path_factory.mktemp("file") / "backup.tar"
    with old.client("root") as client:
        path.write_bytes(client.get("/api/v1/backup").raise_for_status().content)
    return path


def restore(path: Path, home: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SILL_")}
    return subprocess.run(
        [sys.executable, "-m", "sill.api.backup", str(path)],
        env={**environment, "SILL_HOME": str(home), **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def seen(client: httpx.Client) -> dict[str, Any]:
    """What a client sees of the project."""
    return {path: client.get(f"{AT}{path}").raise_for_status().content for path in LOOKED_AT}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_is_restored_answers_as_the_old_did(
    old: Live, backup: Path, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    settings = {"SILL_DATABASE_URL": request.getfixturevalue("postgres_url")} if kind == "postgres" else {}
    done = restore(backup, tmp_path / "home", **settings)
    assert done.returncode == 0, done.stderr
    new = Live(tmp_path / "home", **settings)
    try:
        new.start()
        with old.client("root") as before, new.client("root") as after:
            assert seen(after) == seen(before)
            assert after.get("/api/v1/audit").json()["broken_at"] == 0
            ask(after, "POST", f"/projects/{PROJECT}/tables/thing/rows", [{"id": 9, "age": 1.0}])
            new.tokens["reader"] = old.tokens["reader"]
        with new.client("reader") as reader:
            assert reader.get(AT).status_code == 200
    finally:
        new.stop()


def test_a_backup_leaves_nothing_behind(old: Live, backup: Path) -> None:
    assert list((old.home / "backups").iterdir()) == []


def test_a_backup_needs_the_highest_right(old: Live) -> None:
    with old.client("reader") as reader:
        assert reader.get("/api/v1/backup").status_code == 403


def test_a_backup_is_not_restored_over_anything(backup: Path, tmp_path: Path) -> None:
    assert restore(backup, tmp_path / "home").returncode == 0

    again = restore(backup, tmp_path / "home")

    assert again.returncode == 2
    assert "has rows already" in again.stderr


def test_a_backup_is_not_restored_under_a_running_platform(old: Live, backup: Path) -> None:
    refused = restore(backup, old.home)

    assert refused.returncode == 2
    assert "another Sill" in refused.stderr


def changed(
    path: Path, to: Path, change: Callable[[str, bytes], bytes | None], more: dict[str, bytes] | None = None
) -> Path:
    """A copy with its entries changed; None leaves one out."""
    with tarfile.open(path) as old, tarfile.open(to, "w") as new:
        for entry in old:
            file = old.extractfile(entry)
            assert file is not None
            content = change(entry.name, file.read())
            if content is not None:
                add(new, entry.name, content)
        for name, content in (more or {}).items():
            add(new, name, content)
    return to


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


DAMAGES: dict[str, Callable[[Path, Path], Path]] = {
    "a changed row": lambda old, to: changed(
        old, to, lambda name, content: content.replace(b"acme", b"evil") if name == "tables/projects.jsonl" else content
    ),
    "a blob with a flipped bit": lambda old, to: changed(
        old,
        to,
        lambda name, content: (
            bytes([content[0] ^ 1]) + content[1:] if name.startswith("blobs/") and content else content
        ),
    ),
    "a missing key": lambda old, to: changed(
        old, to, lambda name, content: None if name == "keys/master.key" else content
    ),
    "a missing table": lambda old, to: changed(
        old, to, lambda name, content: None if name == "tables/events.jsonl" else content
    ),
    "a file nobody wrote": lambda old, to: changed(old, to, lambda _, content: content, {"tables/evil.jsonl": b"{}"}),
    "a path out of it": lambda old, to: changed(old, to, lambda _, content: content, {"../evil": b"x"}),
    "no manifest": lambda old, to: changed(old, to, lambda name, content: None if name == "manifest.json" else content),
    "a manifest that is none": lambda old, to: changed(
        old, to, lambda name, content: b"{" if name == "manifest.json" else content
    ),
    "cut short": lambda old, to: to.write_bytes(old.read_bytes()[: old.stat().st_size // 2]) and to,
    "no archive": lambda old, to: to.write_bytes(b"not a tar " * 1_000) and to,
    "nothing": lambda old, to: to.write_bytes(b"") or to,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_backup_is_refused_and_leaves_the_home_empty(backup: Path, tmp_path: Path, damage: str) -> None:
    wrong = DAMAGES[damage](backup, tmp_path / "wrong.tar")

    refused = restore(wrong, tmp_path / "home")

    assert refused.returncode == 2, refused.stderr
    assert "Traceback" not in refused.stderr
    assert rows(tmp_path / "home" / "sill.db") == 0
    assert not (tmp_path / "evil").exists()


def rows(database: Path) -> int:
    if not database.exists():
        return 0
    with sqlite3.connect(database) as connection:
        found: int = connection.execute("SELECT count(*) FROM events").fetchone()[0]
    connection.close()
    return found
