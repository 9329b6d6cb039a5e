"""Runs that execute elsewhere: begin, end, open again, names and parents by tag, deleted and restored; never scheduled."""

from typing import Any

import pytest

from sill.core.actors import Actor
from sill.core.errors import Conflict, Forbidden, InvalidValue, NotFound
from sill.runs import store
from sill.runs.experiments.types import ExperimentSpec
from sill.runs.types import Batch, ExternalStart, ExternalUpdate, Lifecycle, Run, RunState, View
from sill.stores.log import events_after

pytestmark = pytest.mark.anyio


async def begin(host: Any, actor: Actor, **fields: Any) -> Run:
    run: Run = await host.external.start(actor, "p", ExternalStart(**fields))
    return run


async def test_a_run_begins_with_name_user_and_time(host: Any, ada: Actor) -> None:
    run = await begin(host, ada, name="mine", user="bo", start_us=5_000)
    unnamed = await begin(host, ada, tags={"mlflow.user": "eva"})

    assert (run.state, run.kind, run.name, run.user, run.started_us) == (
        RunState.RUNNING,
        "external",
        "mine",
        "bo",
        5_000,
    )
    assert (await host.tracking.data(ada, "p", run.id)).tags == {"mlflow.runName": "mine"}
    assert unnamed.name
    assert (await host.tracking.data(ada, "p", unnamed.id)).tags["mlflow.runName"] == unnamed.name
    assert unnamed.user == "eva"


async def test_the_same_key_begins_one_run(host: Any, ada: Actor) -> None:
    first = await host.external.start(ada, "p", ExternalStart(name="a"), key="k")

    assert await host.external.start(ada, "p", ExternalStart(name="a"), key="k") == first


async def test_a_name_that_differs_from_its_tag_is_refused(host: Any, ada: Actor) -> None:
    with pytest.raises(InvalidValue, match="different values"):
        await begin(host, ada, name="a", tags={"mlflow.runName": "b"})
    assert (await begin(host, ada, tags={"mlflow.runName": "b"})).name == "b"


async def test_a_run_ends_and_may_be_opened_again(host: Any, ada: Actor) -> None:
    run = await begin(host, ada)
    ended = await host.external.update(ada, "p", run.id, ExternalUpdate(state=RunState.FINISHED, end_us=9))
    again = await host.external.update(ada, "p", run.id, ExternalUpdate(state=RunState.RUNNING))
    await host.external.update(ada, "p", run.id, ExternalUpdate(state=RunState.QUEUED))
    killed = await host.external.update(ada, "p", run.id, ExternalUpdate(state=RunState.CANCELLED))
    found = await host.database.read(lambda connection: events_after(connection, 0, "p", ("run.",), 100))

    assert (ended.state, ended.ended_us) == (RunState.FINISHED, 9)
    assert (again.state, killed.state) == (RunState.RUNNING, RunState.CANCELLED)
    assert [event.kind for event in found] == [
        *("run.started", "run.finished", "run.started", "run.updated", "run.cancelled")
    ]


async def test_runs_elsewhere_are_none_of_the_schedulers(host: Any, ada: Actor) -> None:
    run = await begin(host, ada)
    waits = await begin(host, ada)
    await host.external.update(ada, "p", waits.id, ExternalUpdate(state=RunState.QUEUED))

    assert await host.database.read(store.active) == []
    assert await host.database.read(store.running) == []
    assert await host.runs.lost() == []
    assert (await host.runs.cancel(ada, "p", run.id)).state is RunState.CANCELLED
    assert (await host.runs.logs(ada, "p", run.id)).is_end


async def test_a_parent_named_by_tag_holds_its_children(host: Any, ada: Actor) -> None:
    parent = await begin(host, ada)
    child = await begin(host, ada, tags={"mlflow.parentRunId": parent.id})
    stray = await begin(host, ada, tags={"mlflow.parentRunId": "run-00000000nobody"})

    assert (child.parent_id, stray.parent_id) == (parent.id, "")
    assert [run.id for run in (await host.runs.runs(ada, "p", parent_id=parent.id)).items] == [child.id]


async def test_runs_under_each_other_in_a_circle_end_the_walk(host: Any, ada: Actor) -> None:
    first = await begin(host, ada)
    second = await begin(host, ada, tags={"mlflow.parentRunId": first.id})
    await host.database.write(
        lambda tx: store.retag(tx, store.check_exists(tx.connection, "p", first.id), {"mlflow.parentRunId": second.id})
    )
    found = await host.database.read(lambda connection: store.tree(connection, "p", first.id))

    assert [run.id for run in found] == [first.id, second.id]


async def test_tags_logged_later_change_the_run_itself(host: Any, ada: Actor) -> None:
    run = await begin(host, ada, name="a")
    await host.tracking.log(ada, "p", run.id, Batch(tags={"mlflow.runName": "b", "mlflow.note.content": "why"}))
    renamed = await host.runs.run(ada, "p", run.id)
    await host.external.update(ada, "p", run.id, ExternalUpdate(name="c"))

    assert renamed.name == "b"
    assert (await host.tracking.data(ada, "p", run.id)).tags == {"mlflow.runName": "c", "mlflow.note.content": "why"}


async def test_of_a_run_of_ours_a_client_changes_the_name_only(host: Any, ada: Actor, program: Any) -> None:
    run = await host.runs.submit(ada, "p", program())
    after = await host.external.update(ada, "p", run.id, ExternalUpdate(state=RunState.FINISHED, end_us=1, name="new"))

    assert (after.state, after.ended_us, after.name) == (RunState.QUEUED, 0, "new")


async def test_a_deleted_run_is_not_listed_not_written_and_comes_back(host: Any, ada: Actor) -> None:
    run = await begin(host, ada)
    gone = await host.external.delete(ada, "p", run.id)

    assert gone.lifecycle is Lifecycle.DELETED
    assert (await host.runs.runs(ada, "p")).items == ()
    assert [one.id for one in (await host.runs.runs(ada, "p", view=View.DELETED)).items] == [run.id]
    with pytest.raises(InvalidValue, match="must be in the 'active' state"):
        await host.external.update(ada, "p", run.id, ExternalUpdate(name="x"))
    with pytest.raises(InvalidValue, match="must be in the 'active' state"):
        await host.tracking.log(ada, "p", run.id, Batch(params={"a": "1"}))
    assert (await host.external.restore(ada, "p", run.id)).lifecycle is Lifecycle.ACTIVE
    assert (await host.external.restore(ada, "p", run.id)).deleted_us == 0


async def test_a_run_of_ours_that_is_not_over_is_not_deleted(host: Any, ada: Actor, program: Any) -> None:
    run = await host.runs.submit(ada, "p", program())

    with pytest.raises(Conflict, match="only runs that are over"):
        await host.external.delete(ada, "p", run.id)


async def test_a_job_writes_to_the_runs_it_began_and_to_no_others(host: Any, ada: Actor) -> None:
    job = Actor(id="job:run-00000000mine", scopes=frozenset({"runs:write", "runs:read"}), projects=frozenset({"p"}))
    own, others = await begin(host, job), await begin(host, ada)

    assert (await host.external.update(job, "p", own.id, ExternalUpdate(name="x"))).name == "x"
    with pytest.raises(Forbidden):
        await host.external.update(job, "p", others.id, ExternalUpdate(name="x"))
    with pytest.raises(Forbidden):
        await host.external.delete(job, "p", others.id)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "x" * 251},
        {"start_us": -1},
        {"start_us": 2**63},
        {"tags": {"..": "x"}},
        {"tags": {"a": "x" * 8_001}},
        {"user": "x" * 257},
        {"experiment_id": "../1"},
    ],
)
async def test_values_outside_their_limits_are_refused(host: Any, ada: Actor, fields: Any) -> None:
    with pytest.raises(InvalidValue):
        await begin(host, ada, **fields)


async def test_an_experiment_that_is_not_there_or_was_deleted_takes_no_runs(host: Any, ada: Actor) -> None:
    made = await host.experiments.create(ada, "p", ExperimentSpec(name="a"))
    await host.retention.delete_experiment(ada, "p", made.id)

    with pytest.raises(NotFound):
        await begin(host, ada, experiment_id="7")
    with pytest.raises(InvalidValue, match="must be in the 'active' state"):
        await begin(host, ada, experiment_id=made.id)
