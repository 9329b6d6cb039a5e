"""Environments of other programs that Sill is compared with, made from hashed locks and kept for later sessions.

`environment("mlflow")` is the Python of a virtual environment that holds what `requirements/peers/mlflow.txt` pins; it is
made on first use. What `NAME.unhashed.txt` lists beside a lock (torch: its builds share a version and differ in their
hashes) is installed by pip afterwards. Environments lie in the user's cache, one for each content of the lock, so that a
second session finds them made; those unused for a month are removed.

    python -m sill.testing.peers mlflow      makes it now and prints where its Python is
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sill.core.errors import NotFound, Unavailable

LOCKS = Path(__file__).resolve().parents[3] / "requirements" / "peers"
UNUSED_S_MAX = 30 * 86_400
INSTALL_S_MAX = 1_800
_READY = ".sill-ready"
_making: list[subprocess.Popen[bytes]] = []


def environment(name: str) -> Path:
    """The Python of a peer's environment, which is made if it is not there (seconds with uv, a minute with pip).

    Raises:
        NotFound: there is no lock of that name.
        Unavailable: it could not be installed; the message has the installer's last words.
    """
    folder = _folder(name)
    with _alone(folder):
        if not (folder / _READY).exists():
            _make(name, folder)
        os.utime(folder / _READY)
        _forget_unused(folder.parent)
    return _python(folder)


def prepare(*names: str) -> None:
    """Begin to make environments in a process of its own, which goes on when this one ends; returns at once."""
    missing = [name for name in names if not (_folder(name) / _READY).exists()]
    if missing:
        command = [sys.executable, "-m", __name__, *missing]
        _making.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True))


def names() -> list[str]:
    """Every peer there is a lock of."""
    return sorted(path.stem for path in LOCKS.glob("*.in"))


def _folder(name: str) -> Path:
    """Where the environment belongs: its name says what it is made of."""
    lock, unhashed = LOCKS / f"{name}.txt", _unhashed(name)
    if name not in names() or not lock.exists():
        raise NotFound(f"there is no peer {name!r}.", fix=f"There are: {', '.join(names())}.")
    made_of = [lock.read_bytes(), unhashed.read_bytes() if unhashed.exists() else b"", sys.version.encode()]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "sill" / "peers" / f"{name}-{hashlib.sha256(b'|'.join(made_of)).hexdigest()[:16]}"


def _unhashed(name: str) -> Path:
    return LOCKS / f"{name}.unhashed.txt"


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _make(name: str, folder: Path) -> None:
    print(
        f"making the environment of {name} (once, from requirements/peers/{name}.txt) ...", file=sys.stderr, flush=True
    )
    started_s = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)  # half made by a process that was ended
    uv, unhashed = shutil.which("uv"), _unhashed(name)
    venv.create(folder, with_pip=uv is None or unhashed.exists())
    pip = [str(_python(folder)), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    installer = [uv, "pip", "install", "--compile-bytecode", "--python", str(_python(folder)), "--quiet"] if uv else pip
    # The lock is whole: what it leaves out (torch) is not to be looked for.
    _install([*installer, "--no-deps", "--require-hashes", "-r", str(LOCKS / f"{name}.txt")], name)
    if unhashed.exists():
        _install([*pip, "-r", str(unhashed)], name)  # pip knows where this machine keeps its wheels
    (folder / _READY).touch()
    print(f"made the environment of {name} in {time.monotonic() - started_s:.0f} s", file=sys.stderr, flush=True)


def _install(command: list[str], name: str) -> None:
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=INSTALL_S_MAX, check=False
    )
    if ended.returncode:
        said = ended.stdout.decode(errors="replace")[-2_000:]
        raise Unavailable(
            f"the environment of {name} could not be installed: {said}", fix="Look at the package index, try again."
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time makes an environment; the others wait and find it made."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _forget_unused(cache: Path) -> None:
    until_s = time.time() - UNUSED_S_MAX
    for ready in cache.glob(f"*/{_READY}"):
        if ready.stat().st_mtime < until_s:
            shutil.rmtree(ready.parent, ignore_errors=True)


if __name__ == "__main__":
    for each in sys.argv[1:]:
        print(environment(each))
