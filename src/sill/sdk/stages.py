"""All stages of the platform behind one client, each a class of calls."""

from functools import cached_property
from pathlib import Path

from sill.projects.types import ApplyReport
from sill.sdk.applying import apply
from sill.sdk.client import Client
from sill.sdk.costs import Costs
from sill.sdk.endpoints import Endpoints
from sill.sdk.experiments import Experiments
from sill.sdk.features import Features
from sill.sdk.governance import Governance
from sill.sdk.lake import Tables
from sill.sdk.models import Models
from sill.sdk.monitors import Monitors
from sill.sdk.pipelines import Pipelines
from sill.sdk.platform import Platform
from sill.sdk.queues import Queues
from sill.sdk.runs import Runs
from sill.sdk.sources import Sources
from sill.sdk.traffic import Traffic
from sill.sdk.trainings import Trainings
from sill.sdk.triggers import Triggers
from sill.sdk.webhooks import Webhooks


class Stages:
    """`Stages(client).runs.list()`, `.lake.sql(…)`, `.endpoints.get(…)` …, in the order of the loop."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self.traffic.close()
        self.client.close()

    def apply(self, path: Path) -> ApplyReport:
        """Make what a project file declares so."""
        return apply(self.client, path)

    @cached_property
    def platform(self) -> Platform:
        """Calls of `sdk.platform`."""
        return Platform(self.client)

    @cached_property
    def governance(self) -> Governance:
        """Calls of `sdk.governance`."""
        return Governance(self.client)

    @cached_property
    def costs(self) -> Costs:
        """Calls of `sdk.costs`."""
        return Costs(self.client)

    @cached_property
    def queues(self) -> Queues:
        """Calls of `sdk.queues`."""
        return Queues(self.client)

    @cached_property
    def sources(self) -> Sources:
        """Calls of `sdk.sources`."""
        return Sources(self.client)

    @cached_property
    def lake(self) -> Tables:
        """Calls of `sdk.lake`."""
        return Tables(self.client)

    @cached_property
    def features(self) -> Features:
        """Calls of `sdk.features`."""
        return Features(self.client)

    @cached_property
    def experiments(self) -> Experiments:
        """Calls of `sdk.experiments`."""
        return Experiments(self.client)

    @cached_property
    def runs(self) -> Runs:
        """Calls of `sdk.runs`."""
        return Runs(self.client)

    @cached_property
    def trainings(self) -> Trainings:
        """Calls of `sdk.trainings`."""
        return Trainings(self.client)

    @cached_property
    def pipelines(self) -> Pipelines:
        """Calls of `sdk.pipelines`."""
        return Pipelines(self.client)

    @cached_property
    def models(self) -> Models:
        """Calls of `sdk.models`."""
        return Models(self.client)

    @cached_property
    def endpoints(self) -> Endpoints:
        """Calls of `sdk.endpoints`."""
        return Endpoints(self.client)

    @cached_property
    def traffic(self) -> Traffic:
        """Calls of `sdk.traffic`."""
        return Traffic(self.client)

    @cached_property
    def monitors(self) -> Monitors:
        """Calls of `sdk.monitors`."""
        return Monitors(self.client)

    @cached_property
    def triggers(self) -> Triggers:
        """Calls of `sdk.triggers`."""
        return Triggers(self.client)

    @cached_property
    def webhooks(self) -> Webhooks:
        """Calls of `sdk.webhooks`."""
        return Webhooks(self.client)
