"""The database goes away, or the disk is full: what was acknowledged is there, and work goes on without a restart."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sill.core.errors import Unavailable
from sill.sdk.governance import Governance
from sill.sdk.lake import Tables
from sill.sdk.platform import Platform
from sill.testing.control_plane import ControlPlane
from sill.testing.faults import checks
from sill.testing.faults.ledger import Ledger
from sill.testing.faults.storm import Aftermath, asking, prepare, settle, writing
from sill.testing.servers import Postgres

NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
SEED = 20_26
DISK_BYTES = 64 * 1024**2
PROJECT = "full"


def can_mount() -> bool:
    """Whether this machine has user namespaces with mounts of their own."""
    with contextlib.suppress(OSError):
        return (
            subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode == 0
        )
    return False


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server of this test's own, as it is stopped in the middle."""
    server = Postgres()
    try:
        yield server
    finally:
        server.close()


def test_postgres_may_go_and_come_back(own_postgres: Postgres, tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path / "home", database_url=own_postgres.new_database(), cpus="8")
    try:
        plane.start()
        after = Aftermath(plane, Ledger(), prepare(plane))
        with writing(after, SEED), asking(after):
            time.sleep(2.0)
            own_postgres.kill()
            time.sleep(0.7)
            own_postgres.start()
            time.sleep(2.0)
        settle(after)

        assert plane.process is not None
        assert plane.process.poll() is None
        assert after.ledger.surprises == []
        assert checks.lost(after) == []
        assert checks.half_done(after) == []
        assert checks.audit_gone_wrong(after) == []
    finally:
        plane.stop()
        plane.end_runs()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[ControlPlane]:
    """A platform whose home is a small disk of its own."""
    plane = ControlPlane(tmp_path / "home")
    try:
        plane.start()
        Governance(plane.client(PROJECT)).create_project(PROJECT)
        plane.stop()
        move = f"mount -t tmpfs -o size={DISK_BYTES} tmpfs {tmp_path}/disk && cp -a {plane.home}/. {tmp_path}/disk/"
        (tmp_path / "disk").mkdir()
        onto = f"mount --bind {tmp_path}/disk {plane.home} && exec {sys.executable} -m sill.api"
        plane.command = (*NAMESPACE, "sh", "-c", f"{move} && {onto}")
        plane.start()
        yield plane
    finally:
        plane.stop()


@contextlib.contextmanager
def full(plane: ControlPlane) -> Iterator[None]:
    """Nothing fits on the disk any more."""
    assert plane.process is not None
    filler = Path(f"/proc/{plane.process.pid}/root{plane.home}/filler")
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 65_536) == 65_536:
            continue
        while file.write(b"x"):
            continue
    try:
        yield
    finally:
        filler.unlink()


@pytest.mark.skipif(not can_mount(), reason="this machine lets nobody mount a small disk in a namespace of his own")
def test_a_full_disk_refuses_and_loses_nothing(small_disk: ControlPlane) -> None:
    client = small_disk.client(PROJECT)
    tables, governance = Tables(client), Governance(client)
    tables.append("t", batch(0), key="0")

    def write(number: int) -> None:
        tables.append("t", batch(number), key=str(number))
        governance.put_secret(f"s-{number}", "x" * 1_000)

    with full(small_disk):
        refused = [number for number in range(1, 20) if not went(write, number)]
        assert tables.rows("t").num_rows >= 10
        assert small_disk.process is not None
        assert small_disk.process.poll() is None
    for number in refused:
        write(number)

    kept = tables.rows("t").column("batch").to_pylist()
    assert refused
    assert sorted(kept) == sorted(10 * list(range(20)))
    assert set(governance.secret_names()) == {f"s-{number}" for number in range(1, 20)}
    assert [one.name for one in Platform(client).doctor() if one.status == "failure"] == []
    assert governance.verify_audit().problem == ""


def batch(number: int) -> list[dict[str, int]]:
    return [{"batch": number, "n": n} for n in range(10)]


def went(write: Callable[[int], None], number: int) -> bool:
    """True if it was done; false if it was refused for the time being. Anything else is an error."""
    try:
        write(number)
    except Unavailable:
        return False
    return True
