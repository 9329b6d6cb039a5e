"""`python -m drill [SECONDS [SCENE …]]`: real processes are killed, stopped, replaced and flooded; prints what clients saw.

SECONDS is how long the control plane is away (30); the flood takes twice as long. Without a SCENE all are played: kill,
stop, broken, roll, control, hostile, overload. Clients are plain connections that repeat nothing. They share the machine
with the gateway and its replicas. Exit code 1 if a goal was missed, 2 if there is no such scene.
"""

import gc
import shutil
import sys
import tempfile
from pathlib import Path

from drill.house import House
from drill.scenes import Figure, every, scenes

AWAY_S = 30.0


def tell(figures: list[Figure]) -> None:
    """Print lines of the table."""
    for one in figures:
        goal = "" if one.bound is None else f"{'>=' if one.is_least else '<='} {_short(one.bound)}"
        verdict = "" if one.bound is None else ("yes" if one.is_met else "MISSED")
        print(f"{one.scene:24} {one.name:28} {_short(one.figure):>10} {goal:>12} {verdict}".rstrip(), flush=True)


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 100 or number == int(number) else f"{number:.2f}"


def main(arguments: list[str]) -> int:
    """See the module."""
    import uvloop

    away_s = float(arguments[0]) if arguments else AWAY_S
    known = scenes(away_s, 2 * away_s)
    if unknown := set(arguments[1:]) - known.keys():
        print(f"no scene {', '.join(sorted(unknown))}; there are {', '.join(known)}.", file=sys.stderr)
        return 2
    gc.disable()  # the clients keep all they saw: to look through it takes longer than an answer
    folder = Path(tempfile.mkdtemp(prefix="sill-drill-"))
    house = House(folder)
    print(f"{'scene':24} {'figure':28} {'measured':>10} {'goal':>12} met", flush=True)
    try:
        is_met = uvloop.run(every(house, [known[name] for name in arguments[1:] or known], tell))
    finally:
        house.close()
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if is_met else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
