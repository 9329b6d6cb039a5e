"""What one serving process kept on disk, given to one that is about to start: that one then needs nobody to serve by it."""

import contextlib
import os
from pathlib import Path

from sill.traffic.following import BUNDLES, PLAN_FILE, read_plan, write_plan


def inherit(heir: Path, other: Path) -> bool:
    """Give a process's folder the plan and the bundles of another one's. False if that has no plan.

    A plan that lay there before, from an earlier bearer of its name, may be of any age and is gone. Bundles are hard links;
    what becomes of a file in one folder is nothing to the other, and whoever opens one compares it with its digest.

    Args:
        heir: of a process that does not run; made if it is not there.
    """
    plan = read_plan(other / PLAN_FILE)
    bundles = heir / BUNDLES
    bundles.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in (other / BUNDLES).glob("[0-9a-f]*"):
        with contextlib.suppress(FileExistsError, FileNotFoundError):  # it has it; the other one needs it no more
            os.link(file, bundles / file.name)
    if plan is None:
        (heir / PLAN_FILE).unlink(missing_ok=True)
    else:
        write_plan(heir / PLAN_FILE, plan)
    return plan is not None
