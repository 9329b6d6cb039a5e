"""What a path at the artifact proxy means: whose file it is, and where among that owner's files. Pure.

`EXPERIMENT/RUN/artifacts/PATH` is a run's, `EXPERIMENT/models/MODEL/artifacts/PATH` a logged model's,
`EXPERIMENT/traces/TRACE/artifacts/PATH` a trace's; what stands in front of the id is not looked at, since an id is known
once in a project. `models/NAME/VERSION/PATH` is a file of a registered version. Anything else lies at the project's root.
"""

import re
from typing import NamedTuple

from sill.safety.paths import check_relative

ROOT = ""
"""The owner of files that belong to the project itself."""
FOLDER = "artifacts"
_OWNER = re.compile(r"(run|m|tr)-[0-9A-Za-z_-]{1,90}")
_VERSION = re.compile(r"[1-9][0-9]{0,14}")


class Place(NamedTuple):
    """Where a path leads.

    Attributes:
        owner: id of a run, logged model or trace; `ROOT` for the project itself.
        path: below the owner's files; empty for all of them.
    """

    owner: str
    path: str


class VersionPlace(NamedTuple):
    """A file of a registered version; an empty path for all of them."""

    model: str
    version: int
    path: str


def place_of(path: str) -> Place | VersionPlace:
    """What a path means; an empty one is the project's root.

    Raises:
        InvalidValue: the path climbs, is absolute, or holds what no path of ours does.
    """
    path = path.rstrip("/")
    if not path:
        return Place(ROOT, "")
    parts = check_relative(path).split("/")
    if len(parts) >= 3 and parts[0] == "models" and _VERSION.fullmatch(parts[2]):
        return VersionPlace(parts[1], int(parts[2]), "/".join(parts[3:]))
    for at, part in enumerate(parts[:-1]):
        if parts[at + 1] == FOLDER and _OWNER.fullmatch(part):
            return Place(part, "/".join(parts[at + 2 :]))
    return Place(ROOT, path)
