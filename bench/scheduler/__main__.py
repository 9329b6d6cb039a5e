"""`python -m bench.scheduler [NAME ...]`: replay the public traces and print tables beside the published numbers.

The traces lie in the folder TRACES, `../shared/traces` if that is not set; this project ships none of them. Each bench has
a process of its own, so that memory and times are its own; all seeds are fixed. The last table has every goal.
"""

import os
import sys
from pathlib import Path

from bench.__main__ import machine
from bench.scheduler.alone import alone
from bench.scheduler.tables import TITLES, rows

NAMES = ("s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14")


def main(arguments: list[str]) -> int:
    """Run the benches of these names, or all; 1 if one could not run, as without its trace, 2 if there is none of a name."""
    unknown = set(arguments) - set(NAMES)
    if unknown:
        print(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    folder = Path(os.environ.get("TRACES", "../shared/traces"))
    print(machine())
    goals: list[tuple[str, ...]] = []
    is_missing = False
    for name in arguments or NAMES:
        for line in alone(name, folder):
            print(f"{name:4} {line.text}", flush=True)
            if line.cells:
                goals.append((f"{name:4} {line.cells[0]}", *line.cells[1:]))
            elif line.is_missing:
                goals.append((f"{name:4} not run, see above", *[""] * (len(TITLES) - 1)))
                is_missing = True
    print("\n".join(rows(TITLES, goals)))
    met = sum(cells[-1] == "MET" for cells in goals)
    print(f"{met} of {len(goals)} goals are met.")
    return 1 if is_missing else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
