"""The first run that a script of ours begins with MLflow's client is the one it executes in."""

from collections.abc import Callable
from typing import Any

import pytest

from sill.core.actors import Actor
from sill.runs.described import PARENT_TAG
from sill.runs.experiments.types import ExperimentSpec
from sill.runs.types import EXTERNAL, ExternalStart, Run, RunSpec

Program = Callable[..., RunSpec]


async def begun(host: Any, ada: Actor, program: Program) -> tuple[Run, Actor, str]:
    """A run of ours, the actor its script is, and an experiment the script names."""
    run = await host.runs.submit(ada, "p", program("import time; time.sleep(60)"))
    experiment = await host.experiments.create(ada, "p", ExperimentSpec(name="chosen"))
    job = Actor(id=f"job:{run.id}", scopes=frozenset({"runs:read", "runs:write"}), projects=frozenset({"p"}))
    return run, job, experiment.id


@pytest.mark.anyio
async def test_the_first_run_is_the_scripts_own_in_the_experiment_it_names(
    host: Any, ada: Actor, program: Program
) -> None:
    run, job, experiment_id = await begun(host, ada, program)
    adopted = await host.external.start(job, "p", ExternalStart(experiment_id=experiment_id, name="fit"))

    assert (adopted.id, adopted.kind, adopted.name) == (run.id, run.kind, "fit")
    assert (adopted.experiment_id, adopted.experiment) == (experiment_id, "chosen")
    assert adopted.artifact_uri.endswith(f"/{experiment_id}/{run.id}/artifacts")
    assert (await host.runs.run(ada, "p", run.id)) == adopted


@pytest.mark.anyio
async def test_further_and_nested_runs_are_runs_of_their_own(host: Any, ada: Actor, program: Program) -> None:
    run, job, experiment_id = await begun(host, ada, program)
    nested = await host.external.start(job, "p", ExternalStart(experiment_id=experiment_id, tags={PARENT_TAG: run.id}))
    first = await host.external.start(job, "p", ExternalStart(experiment_id=experiment_id))
    second = await host.external.start(job, "p", ExternalStart(experiment_id=experiment_id))

    assert (nested.kind, nested.parent_id) == (EXTERNAL, run.id)
    assert first.id == run.id
    assert (second.kind, second.id == run.id) == (EXTERNAL, False)


@pytest.mark.anyio
async def test_nobody_elses_run_is_adopted(host: Any, ada: Actor, program: Program) -> None:
    run, _, experiment_id = await begun(host, ada, program)
    made = await host.external.start(ada, "p", ExternalStart(experiment_id=experiment_id))

    assert made.id != run.id
    assert (await host.runs.run(ada, "p", run.id)).experiment_id != experiment_id
