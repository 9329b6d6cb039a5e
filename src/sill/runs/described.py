"""What tags of MLflow's clients say of a run itself: its name, who started it, which run it belongs to. Pure."""

import hashlib

import msgspec

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.runs.types import EXTERNAL, ExternalStart, ExternalUpdate, Run, RunState

NAME_TAG = "mlflow.runName"
USER_TAG = "mlflow.user"
PARENT_TAG = "mlflow.parentRunId"
NOTE_TAG = "mlflow.note.content"
"""A text in Markdown that people write on a run or an experiment."""
NAME_LENGTH_MAX = 250
USER_LENGTH_MAX = 256
TAGS_AT_START_MAX = 1_000
TIME_US_MAX = 2**63 - 1
_FIRST = (
    *("amber", "bold", "brisk", "calm", "clear", "crisp", "deft", "early", "fair", "fleet", "gentle", "golden"),
    *("hardy", "ivory", "keen", "light", "lucid", "mellow", "merry", "noble", "patient", "plain", "quick", "quiet"),
    *("rapid", "sharp", "silver", "sober", "steady", "swift", "tidy", "warm"),
)
_SECOND = (
    *("alder", "ash", "aspen", "badger", "beech", "birch", "brook", "cedar", "cliff", "crane", "dune", "elm"),
    *("falcon", "fern", "finch", "fjord", "hare", "heron", "larch", "lark", "maple", "marsh", "otter", "owl"),
    *("pine", "reef", "ridge", "robin", "rowan", "slate", "thrush", "willow"),
)


def made_up_name(run_id: str) -> str:
    """A name for a run or model that was given none, such as `calm-heron-512`; always the same for an id."""
    drawn = hashlib.sha256(run_id.encode()).digest()
    number = int.from_bytes(drawn[2:4], "big") % 1_000
    return f"{_FIRST[drawn[0] % len(_FIRST)]}-{_SECOND[drawn[1] % len(_SECOND)]}-{number}"


def check_start(start: ExternalStart) -> ExternalStart:
    """The run's beginning with its name and user made the same as its tags say.

    Raises:
        InvalidValue: a name or time is outside what is allowed, or name and tag differ.
    """
    said = start.tags.get(NAME_TAG, "")
    if len(start.tags) > TAGS_AT_START_MAX:
        raise InvalidValue(
            f"{len(start.tags)} tags are too many; a run begins with at most {TAGS_AT_START_MAX}.", field="tags"
        )
    if start.name and said and start.name != said:
        raise InvalidValue(
            f"Both 'run_name' argument and '{NAME_TAG}' tag are specified, but with different values "
            f"(run_name={shorten(start.name)!r}, {NAME_TAG}={shorten(said)!r}).",
            fix="Give one of them.",
            field="name",
        )
    check_name(start.name or said)
    _check_time(start.start_us, "start_us")
    user = start.user or start.tags.get(USER_TAG, "")
    if len(user) > USER_LENGTH_MAX or "\0" in user:
        raise InvalidValue(f"user has {len(user)} characters; at most {USER_LENGTH_MAX} are allowed.", field="user")
    return msgspec.structs.replace(start, name=start.name or said, user=user)


def check_change(change: ExternalUpdate) -> None:
    """Refuse a name or time outside what is allowed.

    Raises:
        InvalidValue: one is.
    """
    check_name(change.name)
    _check_time(change.end_us, "end_us")


def check_name(name: str) -> str:
    """The name itself, if it has at most 250 characters and no NUL; empty means none was given."""
    if len(name) > NAME_LENGTH_MAX or "\0" in name:
        raise InvalidValue(
            f"run name {shorten(name)!r} is not allowed: at most {NAME_LENGTH_MAX} characters, none of them NUL.",
            field="name",
        )
    return name


def changed(run: Run, change: ExternalUpdate) -> Run:
    """The run after its client said how it fares. Of a run of ours only the name is taken: its state is seen, not told."""
    fields: dict[str, object] = {"name": change.name or run.name}
    if run.kind == EXTERNAL:
        if change.state is not None:
            fields |= {"state": change.state, "reason": "", "is_stopping": False}
        if change.end_us is not None:
            fields["ended_us"] = change.end_us
    return msgspec.structs.replace(run, **fields)


def event_kind(before: Run, after: Run) -> str:
    """What the event of a change is called."""
    if before.state is after.state or after.state is RunState.QUEUED:
        return "run.updated"
    return "run.started" if after.state is RunState.RUNNING else f"run.{after.state}"


def tagged(run: Run, tags: dict[str, str], has_parent: bool) -> Run:
    """The run with what new tags say of it. Of a run of ours the parent stays: who started it is known.

    Args:
        has_parent: whether the run that `mlflow.parentRunId` names is there.
    Raises:
        InvalidValue: the name is not allowed.
    """
    fields: dict[str, str] = {}
    if tags.get(NAME_TAG):
        fields["name"] = check_name(tags[NAME_TAG])
    if USER_TAG in tags and run.kind == EXTERNAL:
        fields["user"] = tags[USER_TAG][:USER_LENGTH_MAX]
    if PARENT_TAG in tags and run.kind == EXTERNAL:
        fields["parent_id"] = tags[PARENT_TAG] if has_parent and tags[PARENT_TAG] != run.id else ""
    return msgspec.structs.replace(run, **fields)


def _check_time(at_us: int | None, field: str) -> None:
    if at_us is not None and not 0 <= at_us <= TIME_US_MAX:
        raise InvalidValue(
            f"{field} {at_us} is outside 0 to {TIME_US_MAX}; it counts microseconds since 1970 UTC.", field=field
        )
