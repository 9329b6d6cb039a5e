"""`python -m bench [NAME ...]`: measure, and print what was found, one line each."""

import datetime
import importlib
import os
import platform
import sys

NAMES = ("startup", "idle", "writes", "serving")
ON_DEMAND = ("tracking", "models", "wakes")
"""Measured only when asked for: they need an environment of another program, and minutes."""


def main(arguments: list[str]) -> int:
    """Run the measurements of these names, or all; 2 if there is none of a name."""
    unknown = set(arguments) - {*NAMES, *ON_DEMAND}
    if unknown:
        there_are = ", ".join((*NAMES, *ON_DEMAND))
        print(f"no measurement {', '.join(sorted(unknown))}; there are {there_are}.", file=sys.stderr)
        return 2
    print(machine())
    for name in arguments or NAMES:
        for line in importlib.import_module(f"bench.{name}").measure():
            print(f"{name:8}  {line}", flush=True)
    return 0


def machine() -> str:
    """Date and machine, and how busy it is with other things."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"{now}, {processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
