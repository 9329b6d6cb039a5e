"""`python -m bench.scheduler [NAME ...]`: replay the public traces and print tables beside the published numbers.

The traces lie in the folder TRACES, `../shared/traces` if that is not set; this project ships none of them.
"""

import importlib
import os
import sys
import time
from pathlib import Path

from bench.__main__ import machine
from sill.core.errors import NotFound

NAMES = ("s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14")


def main(arguments: list[str]) -> int:
    """Run the benches of these names, or all; 1 if a trace is missing, 2 if there is none of a name."""
    unknown = set(arguments) - set(NAMES)
    if unknown:
        print(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    folder = Path(os.environ.get("TRACES", "../shared/traces"))
    print(machine())
    is_missing = False
    for name in arguments or NAMES:
        began_s = time.monotonic()
        try:
            for line in importlib.import_module(f"bench.scheduler.{name}").measure(folder):
                print(f"{name:4} {line}", flush=True)
        except NotFound as missing:
            print(f"{name:4} not run: {missing}", flush=True)
            is_missing = True
        print(f"{name:4} took {time.monotonic() - began_s:.0f} s", flush=True)
    return 1 if is_missing else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
