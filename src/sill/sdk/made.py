"""What the server calls the things that were made while it was away."""

from urllib.parse import quote

import msgspec

from sill.sdk.carrying import Answer, Carrier
from sill.sdk.journal_files import Entry

ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"
"""MLflow's code for a name that is taken."""


class _Info(msgspec.Struct, frozen=True):
    run_id: str = ""
    model_id: str = ""


class _Thing(msgspec.Struct, frozen=True):
    info: _Info = _Info()


class _Experiment(msgspec.Struct, frozen=True):
    experiment_id: str = ""


class _Made(msgspec.Struct):
    """The ids in any answer to a call that makes something, or its error."""

    run: _Thing = _Thing()
    model: _Thing = _Thing()
    experiment: _Experiment = _Experiment()
    experiment_id: str = ""
    error_code: str = ""


class _Named(msgspec.Struct):
    name: str = ""


def name_made(server: Carrier, entry: Entry, answer: Answer) -> str:
    """The id that the server gave to what the entry makes; empty if it refused.

    An experiment that somebody made meanwhile is the one that was meant.

    Raises:
        Away: the server had to be asked again, and did not answer.
    """
    made = _decode(answer.body)
    if answer.is_success:
        return made.run.info.run_id or made.model.info.model_id or made.experiment_id
    if made.error_code == ALREADY_EXISTS and entry.path.endswith("/experiments/create"):
        name = msgspec.json.decode(entry.body, type=_Named).name
        path = entry.path.replace("/create", f"/get-by-name?experiment_name={quote(name, safe='')}")
        return _decode(server.carry("GET", path, entry.headers).body).experiment.experiment_id
    return ""


def _decode(body: bytes) -> _Made:
    try:
        return msgspec.json.decode(body, type=_Made)
    except msgspec.DecodeError:
        return _Made()
