"""Makes `.venv` with Sill in it, from the hashed lock. Standard library only; uses uv when it is there, else pip.

    python3 scripts/setup.py [core|train|dev] [--torch]

Nothing is done again when the lock has not changed since the last time.
"""

import hashlib
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".sill-setup"
LEVELS = ("core", "train", "dev")
TORCH = "torch==2.13.0"
"""Not in the hashed lock: its CPU and GPU builds share a version and differ in their hashes (docs/decisions/0003)."""


def main(arguments: list[str]) -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 -- it is run by whatever Python is there
        print(f"Sill needs Python 3.11 or newer; this is {sys.version.split()[0]}.", file=sys.stderr)
        return 2
    wanted = next((argument for argument in arguments if argument in LEVELS), "core")
    done = STAMP.read_text().split("\n") if STAMP.exists() else []
    level = LEVELS[max(LEVELS.index(wanted), LEVELS.index(done[0]) if done and done[0] in LEVELS else 0)]
    lock = ROOT / "requirements" / f"{level}.txt"
    digest = hashlib.sha256(
        lock.read_bytes() + (ROOT / "pyproject.toml").read_bytes() + sys.version.encode()
    ).hexdigest()
    with_torch = "--torch" in arguments or "torch" in done
    if done[:2] == [level, digest] and (not with_torch or "torch" in done):
        compile_own()
        return 0
    if not (VENV / "bin" / "python").exists():
        print(f"making {VENV.name} ...", flush=True)
        venv.create(VENV, with_pip=shutil.which("uv") is None)
    started = time.monotonic()
    print(f"installing {level} from {lock.relative_to(ROOT)} ...", flush=True)
    install("--require-hashes", "-r", str(lock))
    if with_torch:
        print(f"installing {TORCH} ...", flush=True)
        subprocess.run([*pip(), "install", "--quiet", TORCH], check=True)
    install("--require-hashes", "-r", str(ROOT / "requirements" / "build.txt"))
    install("--no-deps", "--no-build-isolation", "-e", str(ROOT))
    compile_own()
    print(f"installed in {time.monotonic() - started:.0f} s", flush=True)
    STAMP.write_text("\n".join([level, digest, *(["torch"] if with_torch else [])]))
    return 0


def install(*arguments: str) -> None:
    """Install with uv when it is there, else with the environment's pip."""
    uv = shutil.which("uv")
    python = str(VENV / "bin" / "python")
    # Bytecode, as pip makes it: without it a start compiles SQLAlchemy again wherever Python may not write its own.
    command = [uv, "pip", "install", "--compile-bytecode", "--python", python] if uv else [*pip(), "install"]
    subprocess.run([*command, "--quiet", *arguments], check=True)


def compile_own() -> None:
    """Bytecode of our own sources (60 ms when nothing has changed)."""
    subprocess.run([str(VENV / "bin" / "python"), "-m", "compileall", "-q", str(ROOT / "src")], check=True)


def pip() -> list[str]:
    """pip inside the environment (torch always comes by it: it knows where this machine keeps its wheels)."""
    if not (VENV / "bin" / "pip").exists():
        subprocess.run([str(VENV / "bin" / "python"), "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
    return [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
