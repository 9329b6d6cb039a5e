"""Use cases of traces that change something: take spans, take whole traces, tag, link, delete."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from sill.core.actors import Actor
from sill.core.clock import Clock, Ids
from sill.core.errors import InvalidValue, NotFound
from sill.core.names import shorten
from sill.governance.rules import require
from sill.runs.experiments import rules as experiment_rules
from sill.runs.experiments import store as experiments
from sill.runs.store import check_exists
from sill.runs.tracing import assessing, rules, store
from sill.runs.tracing.traces import Traces
from sill.runs.tracing.types import (
    Span,
    SpansLogged,
    Trace,
    TraceEnd,
    TracesDeleted,
    TraceSelection,
    TraceState,
)
from sill.stores.blobs.sweeping import Sweeper, let_go
from sill.stores.database import Database, Tx


class Tracing:
    """Traces of all projects, as they come in. Looking at them is the business of `Traces`."""

    def __init__(self, database: Database, clock: Clock, ids: Ids, sweeper: Sweeper, traces: Traces) -> None:
        self._database = database
        self._sweeper = sweeper
        self._clock = clock
        self._ids = ids
        self._traces = traces

    async def log_spans(self, actor: Actor, project: str, experiment_id: str, spans: Sequence[Span]) -> SpansLogged:
        """Keep spans, all or none; traces that are not known yet begin with them. A span that comes again is replaced.

        A trace that is known stays in its experiment: clients send spans inside a trace before they name its place.

        Raises:
            InvalidValue: the experiment was deleted.
            NotFound: there is no such experiment.
        """
        require(actor, "runs:write", project)
        rules.check_spans(spans)
        by_trace: dict[str, list[Span]] = {}
        for span in spans:
            by_trace.setdefault(rules.check_trace_id(span.trace_id), []).append(span)

        def work(tx: Tx) -> SpansLogged:
            location = _location(tx, project, experiment_id, actor.id)
            known = store.load(tx.connection, project, by_trace)
            store.put_spans(tx, project, spans)
            made = []
            for trace_id, group in by_trace.items():
                before = known.get(trace_id)
                kept = before or store.Kept(_fresh(project, experiment_id, trace_id, location), is_final=False)
                after = _with_spans(tx, kept, group, is_new=before is None)
                if before is None:
                    made.append(after)
                else:
                    store.save(tx, kept.trace, after, is_final=kept.is_final)
            _create(tx, made, actor.id)
            return SpansLogged(spans=len(spans), traces=tuple(by_trace))

        logged = await self._database.write(work)
        self._traces.arrived.set()
        return logged

    async def report(self, actor: Actor, project: str, trace: Trace) -> Trace:
        """Keep what a client says of a whole trace, its experiment too; its spans may have come before or come later.

        Raises:
            InvalidValue: a field is outside its limits, or the experiment was deleted.
        """
        require(actor, "runs:write", project)
        rules.check_trace(trace)
        for assessment in trace.assessments:
            assessing.check(assessment)
        now_ms = self._clock.now_us() // 1_000
        said = tuple(assessing.named(self._ids, assessment, trace.id, now_ms) for assessment in trace.assessments)

        def work(tx: Tx) -> Trace:
            location = _location(tx, project, trace.experiment_id, actor.id)
            kept = store.load(tx.connection, project, [trace.id]).get(trace.id)
            told = msgspec.structs.replace(
                trace, project=project, assessments=(), tags=_own_less(trace.tags) | _place(location, trace.id)
            )
            if kept is not None:
                told = rules.merged(kept.trace, told)
                store.save(tx, kept.trace, told, is_final=True)
            else:
                _create(tx, [told], actor.id, is_final=True)
            for assessment in said:
                assessing.put(tx, told, assessment)
            return store.get(tx.connection, project, trace.id).trace

        reported = await self._database.write(work)
        self._traces.arrived.set()
        return reported

    async def begin(self, actor: Actor, project: str, trace: Trace) -> Trace:
        """Keep a trace that has begun, in the older way; its id is made here, its end is reported by `end`."""
        require(actor, "runs:write", project)
        begun = rules.check_trace(msgspec.structs.replace(trace, id=self._ids.new("tr"), project=project))

        def work(tx: Tx) -> Trace:
            location = _location(tx, project, trace.experiment_id, actor.id)
            kept = msgspec.structs.replace(begun, tags=_own_less(begun.tags) | _place(location, begun.id))
            _create(tx, [kept], actor.id)
            return kept

        return await self._database.write(work)

    async def end(self, actor: Actor, project: str, trace_id: str, end: TraceEnd) -> Trace:
        """Keep how a trace ended that `begin` has begun."""
        require(actor, "runs:write", project)
        rules.check_texts(end.tags, "tags")
        rules.check_texts(end.metadata, "request_metadata")

        def work(tx: Tx) -> Trace:
            known = store.get(tx.connection, project, trace_id).trace
            ended = msgspec.structs.replace(
                known,
                duration_ms=end.ended_ms - known.started_ms,
                state=end.state,
                metadata=known.metadata | end.metadata,
                tags=known.tags | _own_less(end.tags),
            )
            store.save(tx, known, rules.check_trace(ended), is_final=True)
            return ended

        return await self._database.write(work)

    async def set_tag(self, actor: Actor, project: str, trace_id: str, key: str, value: str) -> None:
        """Set a tag of a trace.

        Raises:
            InvalidValue: only the server sets this tag.
        """
        require(actor, "runs:write", project)
        rules.check_texts({key: value}, "tags")
        _check_not_own(key, "set")

        def work(tx: Tx) -> None:
            known = store.get(tx.connection, project, trace_id)
            told = msgspec.structs.replace(known.trace, tags=known.trace.tags | {key: value})
            store.save(tx, known.trace, told, is_final=known.is_final)

        await self._database.write(work)

    async def delete_tag(self, actor: Actor, project: str, trace_id: str, key: str) -> None:
        """Take a tag off a trace.

        Raises:
            NotFound: it has none of that key.
        """
        require(actor, "runs:write", project)
        _check_not_own(key, "deleted")

        def work(tx: Tx) -> None:
            store.get(tx.connection, project, trace_id)
            if not store.delete_tag(tx, project, trace_id, key):
                raise NotFound(f"No trace tag with key {shorten(key)!r} for trace with ID '{trace_id}'.")

        await self._database.write(work)

    async def link_run(self, actor: Actor, project: str, run_id: str, ids: Sequence[str]) -> None:
        """Keep that traces belong to a run, beside those made within it; traces that are not there are left out."""
        require(actor, "runs:write", project)
        wanted = rules.check_ids(ids, rules.LINKS_MAX)

        def work(tx: Tx) -> None:
            check_exists(tx.connection, project, run_id)
            found = store.load(tx.connection, project, wanted)
            store.link(tx, project, store.RUN, ((trace_id, run_id) for trace_id in found))

        await self._database.write(work)

    async def link_prompts(self, actor: Actor, project: str, trace_id: str, prompts: Sequence[tuple[str, str]]) -> None:
        """Keep that a trace used versions of prompts, given as (name, version)."""
        require(actor, "runs:write", project)
        if len(prompts) > rules.LINKS_MAX:
            raise InvalidValue(f"{len(prompts)} prompts are named; at most {rules.LINKS_MAX} at once are.")
        targets = [f"{name}/{version}" for name, version in prompts]
        for target in targets:
            rules.check_texts({target[: rules.KEY_LENGTH_MAX] or "-": target}, "prompt_versions")

        def work(tx: Tx) -> None:
            store.get(tx.connection, project, trace_id)
            store.link(tx, project, store.PROMPT, ((trace_id, target) for target in targets))

        await self._database.write(work)

    async def delete(self, actor: Actor, project: str, experiment_id: str, selection: TraceSelection) -> TracesDeleted:
        """Delete traces of an experiment for good, with all that belongs to them; the oldest first."""
        require(actor, "runs:write", project)
        rules.check_selection(selection)

        def work(tx: Tx) -> tuple[int, tuple[str, ...]]:
            ids = store.select_ids(tx.connection, project, experiment_id, selection)
            count, digests = store.forget(tx, project, ids)
            if count:
                tx.emit("traces.deleted", project, experiment_id, actor.id, traces=count)
            return count, let_go(tx, digests)

        count, unused = await self._database.write(work)
        return TracesDeleted(traces=count, bytes_freed=await self._sweeper.sweep(unused))


def check_owner(connection: Connection, _actor: Actor, project: str, trace_id: str, is_change: bool) -> None:
    """Returns if files kept beside the trace may be read or, if `is_change`, changed.

    Raises:
        NotFound: there is no such trace.
    """
    store.get(connection, project, trace_id)


def _with_spans(tx: Tx, kept: store.Kept, spans: list[Span], *, is_new: bool) -> Trace:
    """What a trace becomes with these spans, which are in their table already."""
    trace = kept.trace
    nodes = store.nodes(tx.connection, trace.project, trace.id) if any(map(rules.counts, spans)) else []
    return rules.with_spans(trace, spans, nodes, is_new=is_new, is_final=kept.is_final)


def _create(tx: Tx, made: Sequence[Trace], actor_id: str, *, is_final: bool = False) -> None:
    """Keep new traces, each with its event."""
    store.create(tx, made, is_final=is_final)
    for trace in made:
        tx.emit("trace.started", trace.project, trace.id, actor_id, experiment_id=trace.experiment_id)


def _fresh(project: str, experiment_id: str, trace_id: str, location: str) -> Trace:
    place = _place(location, trace_id)
    return Trace(id=trace_id, project=project, experiment_id=experiment_id, state=TraceState.IN_PROGRESS, tags=place)


def _place(location: str, trace_id: str) -> dict[str, str]:
    """Where a client keeps attachments of a trace."""
    return {rules.ARTIFACTS_TAG: f"{location.rstrip('/')}/traces/{trace_id}/artifacts"}


def _location(tx: Tx, project: str, experiment_id: str, actor_id: str) -> str:
    """Where artifacts of the experiment lie, which must be there and active."""
    experiments.ensure_default(tx, project, actor_id)
    return experiment_rules.check_active(experiments.get(tx.connection, project, experiment_id)).artifact_location


def _check_not_own(key: str, what: str) -> None:
    if key in rules.OWN_TAGS:
        raise InvalidValue(f"Tag '{key}' is immutable and cannot be {what} on a trace.", field="key")


def _own_less(tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key not in rules.OWN_TAGS}
