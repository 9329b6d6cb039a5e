"""Makes the same call on two servers and compares what they answer, but for what each of them chooses: ids, times, addresses."""

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

IDS = {"run_id", "run_uuid", "experiment_id", "model_id", "source_run_id", "upload_id", "dataset_id", "trace_id"}
ADDRESSES = {"artifact_uri", "artifact_location", "artifact_root"}
TIMES = {"start_time", "end_time", "creation_time", "last_update_time", "timestamp"} | {
    f"{name}{unit}" for name in ("creation_timestamp", "last_updated_timestamp") for unit in ("", "_ms")
}
MADE_UP = re.compile(r"[a-z]+-[a-z]+-\d+")
"""The name a server gives a run that was given none."""
UNORDERED = {"metrics": "key", "params": "key", "tags": "key", "aliases": "alias"}
"""Lists of pairs that stand for a mapping, and what they are sorted by."""
SETS = {"dataset_inputs", "dataset_summaries"}
"""Lists in an order that is the database's."""
CLOCKS_APART_MS = 60_000
WORDS = {"message", "stack_trace", "error_class", "sqlstate"}
"""Errors are compared by code and status. Each server has its own words for them; class and state, which no client reads,
only say the code again."""
TIMEOUT_S = 60.0
ID_LENGTH_MIN = 16
"""Shorter ids (an experiment's number) are not looked for within texts."""

KNOWN = {
    r"metrics.*value$": "MLflow's SQL stores turn ±Infinity into ±1.7976931348623157e308; Sill keeps it",
    r"(version|versions\[\d+\])\.user_id$": "Sill knows who registered a version",
}


class Both:
    """What the two servers answered at one place. `both["run"]["info"]` goes on in both."""

    def __init__(self, theirs: Any, ours: Any) -> None:
        self.theirs = theirs
        self.ours = ours

    def __getitem__(self, name: str | int) -> "Both":
        return Both(_part(self.theirs, name), _part(self.ours, name))

    def __len__(self) -> int:
        return len(self.theirs or ())


class Replay:
    """Calls MLflow and Sill alike and gathers the places where they differ.

    Args:
        theirs, ours: connections to the two, authorised and at the root of their REST paths.
    """

    def __init__(self, theirs: httpx.Client, ours: httpx.Client) -> None:
        self._theirs = theirs
        self._ours = ours
        self._same: dict[str, str] = {}
        """Their id → ours."""
        self.calls = 0
        self.differences: list[str] = []
        self.known_reasons: set[str] = set()
        """Why answers differ that are known to."""
        self._expected: tuple[int, int] | None = None

    def get(self, path: str, at: Mapping[str, Any] | None = None, /, **query: Any) -> Both:
        """GET; `at` fills the path's {places}."""
        return self._ask("GET", path, at or {}, query=query)

    def post(self, path: str, at: Mapping[str, Any] | None = None, /, **body: Any) -> Both:
        """POST of a JSON object."""
        return self._ask("POST", path, at or {}, body=body)

    def patch(self, path: str, at: Mapping[str, Any] | None = None, /, **body: Any) -> Both:
        """PATCH of a JSON object."""
        return self._ask("PATCH", path, at or {}, body=body)

    def delete(self, path: str, at: Mapping[str, Any] | None = None, /, **body: Any) -> Both:
        """DELETE with a JSON object."""
        return self._ask("DELETE", path, at or {}, body=body)

    def raw(
        self, method: str, path: str, content: bytes = b"", at: Mapping[str, Any] | None = None, /, **query: Any
    ) -> Both:
        """Any method with bytes as its body; the answers' bytes, compared."""
        return self._ask(method, path, at or {}, query=query, content=content)

    def _ask(self, method: str, path: str, at: Mapping[str, Any], **parts: Any) -> Both:
        self.calls += 1
        answers = [
            _send(client, method, path, _side({"at": at, **parts}, is_theirs))
            for client, is_theirs in ((self._theirs, True), (self._ours, False))
        ]
        both = Both(_content(answers[0]), _content(answers[1]))
        place = f"{method} {path} {_shown(parts)}"
        statuses = answers[0].status_code, answers[1].status_code
        if self._expected:
            if statuses != self._expected:
                self._differ(f"{place}: status, which was known to differ", _told(answers[0]), _told(answers[1]))
        elif statuses[0] != statuses[1]:
            self._differ(f"{place}: status", _told(answers[0]), _told(answers[1]))
        elif answers[0].is_success or isinstance(both.theirs, dict):  # else a page of HTML, which nobody reads
            self._compare(place, "", both.theirs, both.ours)
        return both

    @contextmanager
    def known(self, why: str, *, theirs: int, ours: int) -> Iterator[None]:
        """Calls that are known to be answered with other statuses, and why Sill's is the better one."""
        self._expected = theirs, ours
        self.known_reasons.add(why)
        try:
            yield
        finally:
            self._expected = None

    def _compare(self, place: str, name: str, theirs: Any, ours: Any) -> None:
        if isinstance(theirs, dict) and isinstance(ours, dict):
            for key in sorted({*theirs, *ours} - WORDS):
                if theirs.get(key, "") == ours.get(key, ""):
                    continue  # an empty text and none are the same in MLflow's messages
                if key not in theirs or key not in ours:
                    self._differ(f"{place}.{key}", theirs.get(key, "(absent)"), ours.get(key, "(absent)"))
                else:
                    self._compare(f"{place}.{key}", key, theirs[key], ours[key])
        elif isinstance(theirs, list) and isinstance(ours, list):
            if len(theirs) != len(ours):
                self._differ(f"{place}: {len(theirs)} and {len(ours)}", theirs, ours)
                return
            pairs = zip(_sorted(name, theirs, self._same), _sorted(name, ours, {}), strict=True)
            for at, (one, other) in enumerate(pairs):
                self._compare(f"{place}[{at}]", name, one, other)
        elif not self._is_same(name, theirs, ours):
            self._differ(place, theirs, ours)

    def _is_same(self, name: str, theirs: Any, ours: Any) -> bool:
        if theirs == ours and type(theirs) is type(ours):
            return True
        if name == "next_page_token":
            return bool(theirs) and bool(ours)
        if name in TIMES:
            return type(theirs) is type(ours) and _is_now(theirs) and _is_now(ours)
        if not isinstance(theirs, str) or not isinstance(ours, str):
            return False
        if name in IDS | ADDRESSES or (MADE_UP.fullmatch(theirs) and MADE_UP.fullmatch(ours)):
            return self._same.setdefault(theirs, ours) == ours
        return self._in_our_ids(theirs) == ours

    def _in_our_ids(self, text: str) -> str:
        for theirs in sorted(self._same, key=len, reverse=True):  # an address before the id within it
            if len(theirs) >= ID_LENGTH_MIN:
                text = text.replace(theirs, self._same[theirs])
        return text

    def _differ(self, place: str, theirs: Any, ours: Any) -> None:
        for pattern, why in KNOWN.items():
            if re.search(pattern, place) and (pattern.endswith(r"user_id$") or _is_clamped(theirs, ours)):
                self.known_reasons.add(why)
                return
        self.differences.append(f"{place}\n    MLflow: {_shown(theirs)}\n    Sill:   {_shown(ours)}")


def _send(client: httpx.Client, method: str, path: str, parts: dict[str, Any]) -> httpx.Response:
    body, content = parts.get("body"), parts.get("content")
    headers = {"content-type": "application/json"} if body is not None else {}
    return client.request(
        method,
        path.format(**parts["at"]),
        params=parts.get("query"),
        content=json.dumps(body) if body is not None else content,
        headers=headers,
        timeout=TIMEOUT_S,
    )


def _side(value: Any, is_theirs: bool) -> Any:
    """The value as it is meant for one of the servers."""
    if isinstance(value, Both):
        return value.theirs if is_theirs else value.ours
    if isinstance(value, Mapping):
        return {name: _side(each, is_theirs) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_side(each, is_theirs) for each in value]
    return value


def _content(answer: httpx.Response) -> Any:
    """JSON where it is some, an empty answer as an empty one, else the bytes."""
    try:
        return json.loads(answer.content or b"{}")
    except ValueError:
        return answer.content


def _part(value: Any, name: str | int) -> Any:
    """A part of an answer, None where it is missing: the difference has been told already."""
    try:
        return value[name]
    except (KeyError, IndexError, TypeError):
        return None


def _sorted(name: str, values: list[Any], as_ours: Mapping[str, str]) -> list[Any]:
    """The list in an order that both servers can give it: by key where it stands for a mapping, by run where it has any."""
    if not values or not all(isinstance(each, dict) for each in values):
        return values
    if all("run_id" in each and "value" in each for each in values):  # series of several runs, one after the other
        return sorted(values, key=lambda each: as_ours.get(each["run_id"], each["run_id"]))
    if name in SETS:
        return sorted(values, key=lambda each: json.dumps({**each, "experiment_id": ""}, sort_keys=True))
    by = UNORDERED.get(name, "")
    if not by or len({each.get(by) for each in values}) < len(values):
        return values  # one series: its order counts
    return sorted(values, key=lambda each: str(each[by]))


def _is_now(value: Any) -> bool:
    """True for a time in ms that a server has just taken."""
    try:
        return abs(int(value) - time.time() * 1_000) < CLOCKS_APART_MS
    except (TypeError, ValueError):
        return False


def _is_clamped(theirs: Any, ours: Any) -> bool:
    """True if ours is an infinity where theirs is the largest number."""
    try:
        return math.isinf(float(ours)) and float(theirs) == math.copysign(1.7976931348623157e308, float(ours))
    except (TypeError, ValueError):
        return False


def _told(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.text[:300]}"


def _shown(value: Any) -> str:
    text = repr(_side(value, True)) if isinstance(value, dict | list) else repr(value)
    return text if len(text) < 400 else f"{text[:400]}…"
