"""What it takes to do a run again: code, packages, seed, machine."""

import hashlib
import os
import platform
import random
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from sill.runs.types import Provenance

GIT_DIFF_MAX = 200_000
GIT_SECONDS_MAX = 10


def packages() -> list[str]:
    """`name==version` of every installed package, sorted."""
    return sorted({f"{found.name.lower()}=={found.version}" for found in distributions()})


def provenance(code: str, seed: int, listed: list[str]) -> Provenance:
    """What is known about this process. `environment` is the SHA-256 of the list of packages, a line each."""
    return Provenance(
        code=code,
        git_revision=_git("rev-parse", "HEAD").strip(),
        git_diff=_git("diff", "HEAD")[:GIT_DIFF_MAX],
        environment=hashlib.sha256("\n".join(listed).encode()).hexdigest(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        seed=seed,
    )


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and, where it is in use, Torch's generators."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)  # the legacy generator is the one scikit-learn falls back to
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


def _git(*arguments: str) -> str:
    """What git says of the working folder; empty if that is no checkout or there is no git."""
    if not Path(".git").exists():
        return ""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=GIT_SECONDS_MAX, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
