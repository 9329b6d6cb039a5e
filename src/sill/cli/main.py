"""`sill`: every command is one SDK call and what it says. `sill up` replaces this process by the platform's."""

import os
import sys


def main() -> None:
    """Entry point. `sill up` without options skips everything a terminal client needs, to start sooner."""
    if sys.argv[1:] == ["up"]:
        os.execv(sys.executable, [sys.executable, "-m", "sill.api"])
    from sill.cli.commands import run

    raise SystemExit(run())
