"""Issues and scorers belong to an experiment and go with it."""

from typing import Any

import pytest

from sill.core.actors import Actor
from sill.core.clock import Ids
from sill.core.errors import InvalidValue, NotFound
from sill.runs.experiments import store as experiments
from sill.runs.tracing import issues, scorers
from sill.runs.tracing.issues import Issues
from sill.runs.tracing.scorers import Scorers
from sill.runs.tracing.types import IssueChange, IssueSeverity, IssueSpec, IssueStatus


@pytest.fixture
def kept(house: Any) -> Issues:
    return Issues(house.database, Ids(house.clock))


@pytest.fixture
def judges(house: Any) -> Scorers:
    return Scorers(house.database, Ids(house.clock))


def spec(name: str = "slow", **fields: Any) -> IssueSpec:
    return IssueSpec(**{"experiment_id": "0", "name": name, "description": "it takes too long", **fields})


@pytest.mark.anyio
async def test_an_issue_changes_and_keeps_the_rest(kept: Issues, ada: Actor) -> None:
    made = await kept.create(ada, "p", spec(root_causes=("disk",)))

    changed = await kept.change(
        ada, "p", made.id, IssueChange(status=IssueStatus.RESOLVED, severity=IssueSeverity.HIGH)
    )

    assert (changed.status, changed.spec.severity, changed.spec.root_causes) == (
        IssueStatus.RESOLVED,
        "high",
        ("disk",),
    )
    assert (await kept.get(ada, "p", made.id)).spec.name == "slow"


@pytest.mark.anyio
async def test_issues_are_found_by_status_the_newest_first(house: Any, kept: Issues, ada: Actor) -> None:
    for name, status in (("a", "pending"), ("b", "resolved"), ("c", "pending")):
        await kept.create(ada, "p", spec(name, status=IssueStatus(status)))
        house.clock.advance(1)

    first = await kept.search(ada, "p", experiment_id="0", filter="status = 'pending'", limit=1)
    rest = await kept.search(ada, "p", filter="status != 'resolved'", limit=1, after=first.next)

    assert [issue.spec.name for issue in (*first.items, *rest.items)] == ["c", "a"]
    assert rest.next == ""
    with pytest.raises(InvalidValue):
        await kept.search(ada, "p", filter="name = 'a'")


@pytest.mark.anyio
async def test_scorers_count_their_versions(judges: Scorers, ada: Actor) -> None:
    one = await judges.register(ada, "p", "0", "tone", '{"a": 1}')
    two = await judges.register(ada, "p", "0", "tone", '{"a": 2}')
    await judges.delete(ada, "p", "0", "tone", 1)

    assert (one.version, two.version, one.scorer_id == two.scorer_id) == (1, 2, True)
    assert [scorer.version for scorer in await judges.newest(ada, "p", "0")] == [2]
    assert (await judges.get(ada, "p", "0", "tone", None)).serialized == '{"a": 2}'
    with pytest.raises(NotFound):
        await judges.get(ada, "p", "0", "tone", 1)


@pytest.mark.anyio
async def test_what_is_no_issue_or_scorer_is_refused(kept: Issues, judges: Scorers, ada: Actor) -> None:
    with pytest.raises(InvalidValue):
        await kept.create(ada, "p", spec(""))
    with pytest.raises(NotFound):
        await kept.create(ada, "p", spec(experiment_id="99"))
    with pytest.raises(InvalidValue):
        await judges.register(ada, "p", "0", "tone", "{")


@pytest.mark.anyio
async def test_they_go_with_their_experiment(house: Any, kept: Issues, judges: Scorers, ada: Actor) -> None:
    other = house.database.write_sync(lambda tx: experiments.create(tx, "p", "other", "", {}, "ada"))
    await kept.create(ada, "p", spec(experiment_id=other.id))
    await judges.register(ada, "p", other.id, "tone", "{}")

    for stage in (issues, scorers):
        house.database.write_sync(lambda tx, stage=stage: stage.forget_experiment(tx, "p", other.id))

    assert (await kept.search(ada, "p")).items == ()
    assert await judges.newest(ada, "p", other.id) == ()
