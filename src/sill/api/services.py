"""All services of one process, made and closed in one place."""

from dataclasses import dataclass
from typing import Any

from sill.api.inference_process import InferenceProcess
from sill.api.login_links import LoginLinks
from sill.api.metrics import Metrics
from sill.core.clock import Clock, Ids
from sill.core.settings import Settings
from sill.costs.service import Costs
from sill.endpoints.service import Endpoints
from sill.endpoints.workers import FollowWorker
from sill.engines.local.engine import LocalEngine
from sill.features.service import Features
from sill.governance.service import Governance
from sill.governance.workers import AuditHeadWorker
from sill.lake.ingestion import Ingestion
from sill.lake.service import Lake
from sill.models.inspecting import Inspections
from sill.models.placing import Placing
from sill.models.promoting import Promotions
from sill.models.registry import Registry
from sill.models.service import Models
from sill.models.tracked import Tracked
from sill.monitors.service import Monitors
from sill.monitors.workers import MonitorWorker
from sill.projects.service import Projects
from sill.queues.service import Queues
from sill.runs.comparing import Comparisons
from sill.runs.evaluation import store as evaluation_store
from sill.runs.evaluation.service import EvaluationDatasets
from sill.runs.experiments.service import Experiments
from sill.runs.external import ExternalRuns
from sill.runs.logged_models.registered import RegisteredFrom, check_owner
from sill.runs.logged_models.service import LoggedModels
from sill.runs.overview import Overview
from sill.runs.pipelines.service import Pipelines
from sill.runs.retention.service import Retention
from sill.runs.retention.workers import RetentionWorker
from sill.runs.service import Runs
from sill.runs.tracing import issues, scorers
from sill.runs.tracing import store as tracing_store
from sill.runs.tracing.assessments import Assessments
from sill.runs.tracing.issues import Issues
from sill.runs.tracing.scorers import Scorers
from sill.runs.tracing.service import Tracing
from sill.runs.tracing.service import check_owner as check_trace
from sill.runs.tracing.traces import Traces
from sill.runs.tracking.artifacts import Artifacts
from sill.runs.tracking.service import Tracking
from sill.runs.tracking.uploads import Uploads
from sill.runs.tracking.uploads import forget_owner as forget_uploads
from sill.runs.training.service import Trainings
from sill.runs.whatif import WhatIfs
from sill.runs.workers import RunWorker
from sill.safety.limits import MemoryBudget, TokenBuckets
from sill.safety.outbound import Outbound
from sill.safety.secrets import SecretBox
from sill.safety.signing import Signer
from sill.safety.tokens import digest, read_or_create_root_token
from sill.sources.service import Sources
from sill.stores.blobs import Blobs, open_blobs
from sill.stores.blobs.sweeping import Sweeper
from sill.stores.database import Database, open_database
from sill.stores.kv import Online, open_online
from sill.stores.log import Log
from sill.stores.migrate import ensure_schema
from sill.traffic.replica_runs import ReplicaWorker
from sill.traffic.replicas import Replicas
from sill.traffic.service import Traffic
from sill.traffic.workers import RolloutWorker
from sill.triggers.service import Triggers
from sill.triggers.workers import TriggerWorker
from sill.webhooks.service import Deliveries, Webhooks
from sill.webhooks.workers import WebhookWorker

BODIES_BYTES_MAX = 512 * 1024**2

WRONG_TOKENS_PER_S = 1.0
WRONG_TOKENS_AT_ONCE = 30.0


@dataclass(frozen=True)
class Services:
    """What handlers call. One for each control-plane process."""

    settings: Settings
    clock: Clock
    database: Database
    log: Log
    blobs: Blobs
    online: Online
    governance: Governance
    costs: Costs
    sources: Sources
    lake: Lake
    ingestion: Ingestion
    features: Features
    queues: Queues
    overview: Overview
    what_ifs: WhatIfs
    runs: Runs
    external_runs: ExternalRuns
    experiments: Experiments
    logged_models: LoggedModels
    retention: Retention
    comparisons: Comparisons
    tracking: Tracking
    artifacts: Artifacts
    traces: Traces
    tracing: Tracing
    assessments: Assessments
    issues: Issues
    scorers: Scorers
    evaluation_datasets: EvaluationDatasets
    uploads: Uploads
    trainings: Trainings
    pipelines: Pipelines
    models: Models
    registry: Registry
    tracked: Tracked
    inspections: Inspections
    promotions: Promotions
    endpoints: Endpoints
    traffic: Traffic
    replicas: Replicas
    webhooks: Webhooks
    monitors: Monitors
    triggers: Triggers
    projects: Projects
    inference: InferenceProcess
    login_links: LoginLinks
    wrong_tokens: TokenBuckets
    """How many wrong tokens and login codes an address may send; right ones are not counted."""
    metrics: Metrics
    body_memory: MemoryBudget
    """What the bodies of all requests together may hold."""
    workers: tuple[Any, ...]
    """Each has `async def run(self) -> None`, for ever."""

    def close(self) -> None:
        """Finish what is being written and let go of the stores."""
        self.online.close()
        self.database.close()


async def build_services(settings: Settings, clock: Clock) -> Services:
    """Open the stores and make every service and worker. Starts nothing.

    Raises:
        SillError: a store cannot be opened.
    """
    root_token = read_or_create_root_token(settings.home / "token")
    keys = settings.home / "keys"
    signer = Signer(keys / "signing.key")
    ids = Ids(clock)
    database = open_database(settings.database, clock)
    ensure_schema(database)
    blobs = open_blobs(settings)
    online = open_online(settings.online_url)
    log = Log(database)
    outbound = Outbound(settings.outbound_allow)
    box = SecretBox(keys / "master.key")
    governance = Governance(database, log, clock, ids, box, root_digest=digest(root_token))
    engine = LocalEngine(settings)
    costs = Costs(database, clock, ids, settings, accelerators=engine.capacity().types)
    sources = Sources(database, blobs, outbound, governance, settings)
    lake = Lake(database, blobs, clock, ids, settings)
    features = Features(database, lake, online, clock, sql_rows_max=settings.sql_rows_max)
    runs = Runs(database, log, blobs, clock, ids, engine, costs, governance, settings)
    sweeper = Sweeper(database, blobs)
    tracking = Tracking(database)
    retention = Retention(database, sweeper, engine, clock)
    retention.on_erase_run(tracing_store.forget_run)
    retention.on_erase_run(forget_uploads)
    retention.on_erase_experiment(tracing_store.forget_experiment)
    retention.on_erase_experiment(evaluation_store.forget_experiment)
    retention.on_erase_experiment(issues.forget_experiment)
    retention.on_erase_experiment(scorers.forget_experiment)
    trainings = Trainings(database, runs)
    pipelines = Pipelines(database, runs)
    models = Models(database, blobs, clock, signer, governance)
    artifacts = Artifacts(database, blobs, sweeper)
    artifacts.on_owner("m-", check_owner)
    artifacts.on_owner("tr-", check_trace)
    inspections = Inspections(blobs, settings.pythons)
    placing = Placing(database, artifacts, RegisteredFrom(database))
    traces = Traces(database, clock)
    endpoints = Endpoints(database, log, models, governance, clock)
    traffic = Traffic(database, lake, features, models, runs, endpoints, costs, governance, clock)
    deliveries = Deliveries(database, outbound, clock)
    webhooks = Webhooks(database, models, outbound, box, clock, ids, deliveries)
    monitors = Monitors(database, traffic, endpoints, models, outbound, governance, ids, deliveries)
    triggers = Triggers(database, clock, sources, runs, trainings, pipelines)
    projects = Projects(governance, sources, lake, features, trainings, pipelines, endpoints, monitors, triggers)
    replicas = Replicas(clock)
    inference = InferenceProcess(settings, governance.inference_token())
    workers = (
        inference,
        RunWorker(log, runs),
        RetentionWorker(retention),
        FollowWorker(log, endpoints),
        RolloutWorker(log, traffic),
        ReplicaWorker(replicas, runs, governance, clock, settings),
        WebhookWorker(log, webhooks),
        MonitorWorker(log, monitors),
        TriggerWorker(log, triggers),
        AuditHeadWorker(governance, signer, settings),
    )
    return Services(
        settings=settings,
        clock=clock,
        database=database,
        log=log,
        blobs=blobs,
        online=online,
        governance=governance,
        costs=costs,
        sources=sources,
        lake=lake,
        ingestion=Ingestion(sources, lake),
        features=features,
        overview=Overview(runs.board, database),
        what_ifs=WhatIfs(database, clock, runs.board, costs, settings),
        queues=Queues(database, runs.board.resources, runs.board.nodes),
        runs=runs,
        external_runs=ExternalRuns(database, ids),
        experiments=Experiments(database, settings),
        logged_models=LoggedModels(database, ids),
        retention=retention,
        tracking=tracking,
        comparisons=Comparisons(tracking),
        artifacts=artifacts,
        traces=traces,
        tracing=Tracing(database, clock, ids, sweeper, traces),
        assessments=Assessments(database, clock, ids),
        issues=Issues(database, ids),
        scorers=Scorers(database, ids),
        evaluation_datasets=EvaluationDatasets(database, ids),
        uploads=Uploads(database, blobs, ids, artifacts, sweeper),
        trainings=trainings,
        pipelines=pipelines,
        models=models,
        registry=Registry(database, models),
        tracked=Tracked(database, models, placing, RegisteredFrom(database)),
        inspections=inspections,
        promotions=Promotions(database, clock, models, placing, inspections),
        endpoints=endpoints,
        traffic=traffic,
        replicas=replicas,
        webhooks=webhooks,
        monitors=monitors,
        triggers=triggers,
        projects=projects,
        inference=inference,
        login_links=LoginLinks(),
        wrong_tokens=TokenBuckets(WRONG_TOKENS_PER_S, WRONG_TOKENS_AT_ONCE, clock),
        metrics=Metrics(database),
        body_memory=MemoryBudget(BODIES_BYTES_MAX),
        workers=workers,
    )
