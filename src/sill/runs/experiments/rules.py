"""What an experiment may be called, tagged with, and where its artifacts may lie. Pure."""

import re

from sill.core.errors import Forbidden, InvalidValue, NotFound, Refused
from sill.core.names import shorten
from sill.runs.experiments.types import DEFAULT_NAME, Experiment
from sill.runs.tracking.rules import check_key
from sill.runs.types import Lifecycle

NAME_LENGTH_MAX = 500
LOCATION_LENGTH_MAX = 2_048
TAG_LENGTH_MAX = 20_000
TAGS_MAX = 1_000
EXPERIMENTS_MAX = 100_000
"""Experiments of one project, those that can still be restored among them."""
SERVED = "mlflow-artifacts:/"
"""Where artifacts lie that this server keeps; MLflow's clients ask us for what is below."""
SILL_DEFAULT = "default"
"""What runs of ours call the experiment "Default"."""
_ID = re.compile(r"0|[1-9][0-9]{0,17}")
_NEGATIVE = re.compile(r"-[1-9][0-9]{0,17}")
_PART = re.compile(r"[\w.@+=:, -]+")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):(.*)", re.IGNORECASE | re.DOTALL)


def check_experiment_id(experiment_id: str) -> int:
    """The number of an experiment.

    Raises:
        InvalidValue: it is no number.
        NotFound: it is below zero; there is no such experiment.
    """
    if _NEGATIVE.fullmatch(experiment_id):
        raise NotFound(f"No Experiment with id={experiment_id} exists.", fix="List the experiments of the project.")
    if not _ID.fullmatch(experiment_id):
        raise InvalidValue(
            f"experiment id {shorten(experiment_id)!r} is not a number such as '12'.",
            fix="List the experiments of the project.",
            field="experiment_id",
        )
    return int(experiment_id)


def check_experiment_name(name: str) -> str:
    """The name itself, if it is allowed: any text that is not blank, at most 500 characters, without NUL.

    Raises:
        InvalidValue: anything else.
    """
    if not name.strip() or len(name) > NAME_LENGTH_MAX or "\0" in name:
        raise InvalidValue(
            f"experiment name {shorten(name)!r} is not allowed: 1 to {NAME_LENGTH_MAX} characters, not all of them "
            "blank, none of them NUL.",
            fix="Choose another name.",
            field="name",
        )
    return name


def canonical(name: str) -> str:
    """The name as it is kept: `default`, as runs of ours say, is the experiment "Default"."""
    return DEFAULT_NAME if name == SILL_DEFAULT else name


def sill_name(name: str) -> str:
    """The name as runs of ours say it."""
    return SILL_DEFAULT if name == DEFAULT_NAME else name


def check_experiment_tags(tags: dict[str, str]) -> None:
    """Check keys and values of an experiment's tags.

    Raises:
        InvalidValue: one is outside its limits, or there are too many.
    """
    if len(tags) > TAGS_MAX:
        raise InvalidValue(f"{len(tags)} tags are too many; at most {TAGS_MAX} are kept.", field="tags")
    for key, value in tags.items():
        check_key(key, "tags")
        if len(value) > TAG_LENGTH_MAX or "\0" in value:
            raise InvalidValue(
                f"tag {shorten(key)!r} of an experiment has {len(value)} characters or holds a NUL; at most "
                f"{TAG_LENGTH_MAX} are allowed.",
                field="tags",
            )


def check_location(location: str, roots: str) -> str:
    """The artifact location itself, if clients may be sent there: below `mlflow-artifacts:/`, or below a listed root.

    Args:
        roots: the setting `artifact_roots`: addresses with commas between them.
    Raises:
        InvalidValue: it is too long, climbs, or has a part that could be read in two ways: `?`, `#`, `;`, `%`, `\\`.
        Forbidden: the operator did not list such a place.
    """
    scheme, path = _split(location)
    parts = path.strip("/").split("/") if path.strip("/") else []
    if len(location) > LOCATION_LENGTH_MAX or any(
        not _PART.fullmatch(part) or part in (".", "..") or part != part.strip() for part in parts
    ):
        raise InvalidValue(
            f"artifact_location {shorten(location)!r} is not allowed: letters, digits and . _ - @ + = : , between "
            f"slashes, no '..', no empty part, at most {LOCATION_LENGTH_MAX} characters.",
            fix="Leave it empty: artifacts are then kept by this server.",
            field="artifact_location",
        )
    if scheme == "mlflow-artifacts":
        if path.startswith("//"):
            raise _not_listed(location)  # another server's
        return SERVED + "/".join(parts)
    is_here = path.startswith("/") and (path.startswith("///") or not path.startswith("//"))
    if scheme in ("", "file") and not is_here:
        raise _not_listed(location)  # relative, or on another machine
    if not any(_is_below(scheme, parts, root.strip()) for root in roots.split(",") if root.strip()):
        raise _not_listed(location)
    return location.rstrip("/")


def artifact_uri(location: str, *below: str) -> str:
    """Where the artifacts of a run, or of a logged model, of an experiment lie."""
    return "/".join((location.rstrip("/"), *below, "artifacts"))


def default_location(experiment_id: str) -> str:
    """Where an experiment's artifacts lie unless it says otherwise."""
    return SERVED + experiment_id


def check_active(experiment: Experiment) -> Experiment:
    """The experiment itself, if it was not deleted.

    Raises:
        InvalidValue: it was.
    """
    if experiment.lifecycle is not Lifecycle.ACTIVE:
        raise InvalidValue(
            f"The experiment {experiment.id} must be in the 'active' state. Current state is {experiment.lifecycle}.",
            fix=f"Restore it: sill experiments restore {experiment.id}.",
            field="experiment_id",
        )
    return experiment


def check_may_delete(experiment: Experiment) -> None:
    """Refuse to delete what was deleted already.

    Raises:
        NotFound: it was.
    """
    if experiment.lifecycle is not Lifecycle.ACTIVE:
        raise NotFound(f"no active experiment with id {experiment.id}: it was deleted.", fix="Restore it first.")


def check_may_restore(experiment: Experiment) -> None:
    """Refuse to restore what was not deleted.

    Raises:
        NotFound: it was not.
    """
    if experiment.lifecycle is not Lifecycle.DELETED:
        raise NotFound(f"no deleted experiment with id {experiment.id}: it is active.", fix="Nothing is left to do.")


def check_may_rename(experiment: Experiment) -> None:
    """Refuse to rename what was deleted.

    Raises:
        Refused: it was.
    """
    if experiment.lifecycle is not Lifecycle.ACTIVE:
        raise Refused(
            f"Cannot rename a non-active experiment: {experiment.id} was deleted.",
            fix="Restore it first.",
            field="name",
        )


def _split(location: str) -> tuple[str, str]:
    """Scheme (lower case; empty for a path) and the rest."""
    found = _SCHEME.fullmatch(location)
    return (found[1].lower(), found[2]) if found else ("", location)


def _is_below(scheme: str, parts: list[str], root: str) -> bool:
    kind, path = _split(root)
    first = [part for part in path.split("/") if part]
    is_same_kind = kind in ("", "file") if scheme in ("", "file") else kind == scheme
    return is_same_kind and bool(first) and parts[: len(first)] == first


def _not_listed(location: str) -> Forbidden:
    return Forbidden(
        f"artifact_location {shorten(location)!r} is not below {SERVED} nor below a place the operator listed.",
        fix="Leave it empty, or ask the operator to list it in SILL_ARTIFACT_ROOTS.",
        field="artifact_location",
    )
