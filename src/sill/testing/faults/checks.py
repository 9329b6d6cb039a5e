"""What must hold after a storm. Each check returns what it found wrong, as sentences; nothing means that all is well."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from sill.core.events import Event
from sill.endpoints.types import Endpoint, RevisionState
from sill.models.types import ModelVersion
from sill.runs.types import Run, RunState
from sill.sdk.client import Client
from sill.sdk.endpoints import Endpoints
from sill.sdk.governance import Governance
from sill.sdk.lake import Tables
from sill.sdk.models import Models
from sill.sdk.runs import Runs
from sill.sdk.traffic import Traffic
from sill.sdk.triggers import Triggers
from sill.testing.faults.ledger import Write
from sill.testing.faults.storm import Aftermath
from sill.testing.faults.writers import ENDPOINT, MODEL, POINTS, PROJECT

Faults = list[str]


def lost(after: Aftermath) -> Faults:
    """Acknowledged writes that are not there, or not as they were sent."""
    found = [check(after) for check in (_named, _contents, _points, _last_words, _labels)]
    return [fault for faults in found for fault in faults]


def half_done(after: Aftermath) -> Faults:
    """Operations on several things of which only a part was done, acknowledged or not, or which were done twice."""
    found = [check(after) for check in (_appends, _records, _joined, _versions, _revisions, _doubles)]
    return [fault for faults in found for fault in faults]


def runs_gone_wrong(after: Aftermath) -> Faults:
    """Runs that did not run exactly once, whether they were going on at a kill or waited."""
    events = Counter((event.kind, event.subject) for event in events_of(after.client))
    noted = {"run-" + write.key: write for write in after.ledger.writes("run")}
    faults: Faults = []
    for run in every_run(after.client):
        note = after.prepared.notes / run.name.removeprefix("run-")
        said = note.read_text().split() if note.exists() else []
        kept = {artifact.path for artifact in Runs(after.client).artifacts(run.id).items}
        told = {kind: events[(f"run.{kind}", run.id)] for kind in ("submitted", "started", "finished")}
        if run.state is not RunState.FINISHED or run.attempt != 1 or run.exit_code != 0:
            faults.append(f"{run.name}: {run.state}, attempt {run.attempt}, exit code {run.exit_code}: {run.reason}")
        if said != ["begin", "end"]:
            faults.append(f"{run.name} wrote {said}")
        if "result.txt" not in kept or Runs(after.client).artifact(run.id, "result.txt") != b"done\n":
            faults.append(f"{run.name} has no whole output")
        if set(told.values()) != {1}:
            faults.append(f"{run.name} was told {told}")
        noted.pop(run.name, None)
    return faults + [f"{name} is not there" for name, write in noted.items() if write.is_acknowledged]


def audit_gone_wrong(after: Aftermath) -> Faults:
    """What the audit finds."""
    report = Governance(after.client).verify_audit()
    return [report.problem] if report.problem or report.broken_at else []


def every_run(client: Client) -> Iterator[Run]:
    """All runs of the project."""
    after = ""
    while True:
        page = Runs(client).list(after=after, limit=100)
        yield from page.items
        if not page.next:
            return
        after = page.next


def events_of(client: Client) -> Iterator[Event]:
    """All events of the project."""
    after = 0
    while True:
        page = Governance(client).events(after=after, project=PROJECT, limit=500)
        yield from page.items
        if not page.items:
            return
        after = page.next


def _named(after: Aftermath) -> Faults:
    """Things with a name of their own: projects, tables, triggers, secrets."""
    client = after.client
    there = {
        "project": {one.project.removeprefix("p-") for one in Governance(client).projects()},
        "table": {one.name.removeprefix("t-") for one in Tables(client).list() if one.spec.rules},
        "trigger": {one.name.removeprefix("g-") for one in Triggers(client).list()},
        "secret": {name.removeprefix("s-") for name in Governance(client).secret_names()},
    }
    return [
        f"{kind} {write.key} is not there"
        for kind, names in there.items()
        for write in after.ledger.acknowledged(kind)
        if write.key not in names
    ]


def _contents(after: Aftermath) -> Faults:
    runs, run = Runs(after.client), after.prepared.long_run
    return [
        f"artifact {write.key} is not what was sent"
        for write in after.ledger.acknowledged("artifact")
        if runs.artifact(run, f"{write.key}.bin") != write.facts["content"]
    ]


def _points(after: Aftermath) -> Faults:
    """Metric batches: all points or none, each once."""
    faults: Faults = []
    for metric in sorted({write.facts["metric"] for write in after.ledger.writes("metrics")}):
        seen = Counter(point.step for point in Runs(after.client).points(after.prepared.long_run, metric))
        for write in after.ledger.writes("metrics"):
            if write.facts["metric"] == metric:
                steps = [seen.pop(write.facts["start"] + n, 0) for n in range(POINTS)]
                faults += _all_or_none(write, steps, f"points of {metric}")
        faults += [f"{metric} has points nobody sent: {dict(seen)}"] if seen else []
    return faults


def _last_words(after: Aftermath) -> Faults:
    """Aliases and endpoints are as the last acknowledged change left them, or as one that came after it."""
    aliases = Models(after.client).get(MODEL).aliases
    endpoints = {one.name: one.spec.slo.p99_ms for one in Endpoints(after.client).list().items}
    return [
        *_moved(after.ledger.writes("alias"), "alias", "version", aliases),
        *_moved(after.ledger.writes("endpoint"), "name", "p99_ms", endpoints),
    ]


def _moved(writes: list[Write], name: str, value: str, now: dict[str, Any]) -> Faults:
    faults: Faults = []
    for one in sorted({write.facts[name] for write in writes}):
        own = [write for write in writes if write.facts[name] == one]
        last = max((n for n, write in enumerate(own) if write.is_acknowledged), default=None)
        allowed = {write.facts[value] for write in own[last or 0 :]}
        if last is not None and now.get(one) not in allowed:
            faults.append(f"{name} {one} is {now.get(one)}, and should be among {sorted(allowed)}")
    return faults


def _labels(after: Aftermath) -> Faults:
    there = _column(after, f"labels_{ENDPOINT}", "request_id")
    return [
        f"label of {request_id} is not there"
        for write in after.ledger.acknowledged("label")
        for request_id in write.facts["ids"]
        if there[request_id] != 1
    ]


def _appends(after: Aftermath) -> Faults:
    """Each batch is in its table and in quarantine with all its rows, or in neither; acknowledged ones are there."""
    faults: Faults = []
    for table in after.tables():
        good, bad = _column(after, table, "batch"), _quarantined(after, table)
        for write in after.ledger.writes("append"):
            if write.facts["table"] != table:
                continue
            seen = (good.pop(write.key, 0), bad.pop(write.key, 0))
            whole = (write.facts["good"], write.facts["bad"])
            if seen != whole and (write.is_acknowledged or seen != (0, 0)):
                faults.append(f"batch {write.key} of {table}: {seen} rows, {whole} were sent")
        faults += [f"{table} has batches nobody sent: {dict(good + bad)}"] if good or bad else []
        faults += _told_of(after, table)
    return faults


def _told_of(after: Aftermath, table: str) -> Faults:
    """The table's rows are those its events tell of."""
    told = [event for event in events_of(after.client) if event.kind == "table.appended" and event.subject == table]
    rows = Tables(after.client).get(table).rows
    if sum(event.data["rows"] for event in told) != rows or len({event.data["batch"] for event in told}) != len(told):
        return [f"{table} has {rows} rows, its events tell of {sum(event.data['rows'] for event in told)}"]
    return []


def _records(after: Aftermath) -> Faults:
    """Requests handed over, and requests really asked, are in the lake once."""
    there = _column(after, f"requests_{ENDPOINT}", "request_id", is_shadow=False)
    faults = [f"request {one} is there {there[one]} times" for one in after.asked if there[one] != 1]
    for write in after.ledger.writes("record"):
        faults += _all_or_none(write, [there[one] for one in write.facts["ids"]], "requests")
    return faults


def _joined(after: Aftermath) -> Faults:
    """The sums that the judge goes by are those of the rows in the lake."""
    stats = Traffic(after.client).stats(ENDPOINT)
    requests = sum(_column(after, f"requests_{ENDPOINT}", "request_id").values())
    labels = sum(_column(after, f"labels_{ENDPOINT}", "request_id").values())
    summed = (sum(one.requests for one in stats), sum(one.labelled for one in stats))
    if summed != (requests, labels):
        return [f"sums tell of {summed} requests and labels, the lake of {(requests, labels)}"]
    return []


def _versions(after: Aftermath) -> Faults:
    """Every version has all its files, numbers have no gap, and no registration was done twice."""
    models = Models(after.client)
    every = list(_every_version(models))
    notes = Counter(version.spec.note for version in every)
    faults = [f"version {note} was registered {count} times" for note, count in notes.items() if count > 1]
    if sorted(version.version for version in every) != list(range(1, len(every) + 1)):
        faults.append(f"versions have gaps: {sorted(version.version for version in every)}")
    for version in every:
        if version.state.value == "registered" or version.gate_report is None:
            faults.append(f"version {version.version} was not judged")
        for path in (*version.spec.files, "manifest.json"):
            models.file(MODEL, version.version, path)
    numbers = {version.spec.note: version.version for version in every}
    for write in after.ledger.acknowledged("register"):
        if numbers.get(write.key) != write.answer.version:
            faults.append(f"version {write.answer.version} of {write.key} is not there")
    return faults


def _every_version(models: Models) -> Iterator[ModelVersion]:
    after = ""
    while True:
        page = models.versions(MODEL, after=after)
        yield from page.items
        if not page.next:
            return
        after = page.next


def _revisions(after: Aftermath) -> Faults:
    """Every endpoint has one live revision, of a version that is there, and its events tell of every revision."""
    created = Counter(event.subject for event in events_of(after.client) if event.kind == "revision.created")
    faults: Faults = []
    for endpoint in Endpoints(after.client).list().items:
        for revision in endpoint.revisions:
            Models(after.client).version(MODEL, revision.model_version)
        if _count(endpoint, RevisionState.LIVE) != 1:
            faults.append(f"endpoint {endpoint.name} has {_count(endpoint, RevisionState.LIVE)} live revisions")
        newest = max(revision.number for revision in endpoint.revisions)  # an endpoint keeps the newest hundred only
        if created[endpoint.name] != newest:
            faults.append(f"endpoint {endpoint.name}: {created[endpoint.name]} of {newest} revisions told")
    return faults


def _count(endpoint: Endpoint, state: RevisionState) -> int:
    return sum(revision.state is state for revision in endpoint.revisions)


def _doubles(after: Aftermath) -> Faults:
    """Runs of one key."""
    names = Counter(run.name for run in every_run(after.client))
    return [f"{name} is there {count} times" for name, count in names.items() if count > 1]


def _all_or_none(write: Write, seen: list[int], what: str) -> Faults:
    """All once; or none, if the write was not acknowledged."""
    is_whole = all(count == 1 for count in seen)
    if is_whole or (not write.is_acknowledged and not any(seen)):
        return []
    word = "acknowledged" if write.is_acknowledged else "not acknowledged"
    return [f"{write.kind} {write.key}, {word}: {what} are there {seen} times"]


def _column(after: Aftermath, table: str, column: str, **where: bool) -> Counter[str]:
    """How often each value of a column is there, in the rows that match."""
    tables = Tables(after.client)
    if table not in {one.name for one in tables.list()} or not tables.get(table).rows:
        return Counter()
    return Counter(tables.rows(table, columns=(column,), where=where).column(column).to_pylist())


def _quarantined(after: Aftermath, table: str) -> Counter[str]:
    rows = Tables(after.client).quarantine(table)
    return Counter(rows.column("batch").to_pylist()) if rows.num_rows else Counter()
