"""All services in one process, over a temporary home; the workers do not run, the tests take their steps."""

import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sill.api.services import Services, build_services
from sill.core.actors import PLATFORM
from sill.core.clock import ManualClock
from sill.core.settings import Settings
from sill.governance.types import Project
from sill.runs.pipelines.types import PipelineSpec, StepSpec
from sill.runs.training.types import TrainingSpec
from sill.sources.types import IngestionSpec, Source


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def services(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Services]:
    """A project `p` with a training, an ingestion and a pipeline that could be started."""
    made = await build_services(Settings(home=tmp_path / "home"), clock)
    await made.governance.create_project(PLATFORM, Project(project="p"))
    code = (await made.runs.upload_code(PLATFORM, "p", archive())).digest
    await made.trainings.declare(
        PLATFORM,
        TrainingSpec(
            project="p", name="fit", function="fit", module="code", data="recent", label="y", model="m", code=code
        ),
    )
    source = Source(url="https://example.com/things.csv")
    await made.sources.declare(PLATFORM, IngestionSpec(project="p", name="load", table="things", sources=(source,)))
    await made.pipelines.declare(
        PLATFORM, PipelineSpec(project="p", name="nightly", steps=(StepSpec(name="one", command=("true",)),))
    )
    yield made
    made.close()


async def archive() -> AsyncIterator[bytes]:
    """Code with one module."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("code.py", "def fit(data, params, run): ...")
    yield packed.getvalue()
