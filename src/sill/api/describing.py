"""What the inference plane says about itself and its models, as the protocol's messages. The wire is left to the doors.

Sources: kserve/open-inference-protocol (metadata); triton-inference-server/server, docs/protocol/extension_statistics.md,
extension_model_configuration.md and extension_model_repository.md.
"""

from collections.abc import Iterable

from sill import __version__
from sill.core.errors import NotFound
from sill.endpoints.types import PlanToken
from sill.protocols.oip.paths import Target
from sill.protocols.oip.tensors import datatype_of
from sill.protocols.oip.types import (
    BatchStatistics,
    Duration,
    DynamicBatching,
    IndexedModel,
    InferenceStatistics,
    MemoryUsage,
    ModelConfig,
    ModelMetadata,
    ModelStatistics,
    ServerMetadata,
    StatisticsAnswer,
    TensorConfig,
    TensorMetadata,
    TransactionPolicy,
)
from sill.traffic.plane import Plane
from sill.traffic.pool import Model, Route
from sill.traffic.tensors import ROWS_MAX, has_rows

SERVER_NAME = "sill"
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "generate",
    "model_configuration",
    "model_repository",
    "statistics",
)
"""Named as Triton names them. What is not listed (shared memory, trace, logging, schedule policy) is refused by name."""
PLATFORMS = {"onnx": ("onnx_onnxv1", "onnxruntime")}
"""By runtime: the platform and Triton's name of what executes it. Others are named by their runtime."""
TRITON_NAMES = {"BYTES": "STRING"}


def server_metadata() -> ServerMetadata:
    """Name, version and the extensions that are answered."""
    return ServerMetadata(name=SERVER_NAME, version=__version__, extensions=EXTENSIONS)


async def model_metadata(plane: Plane, token: PlanToken, target: Target) -> ModelMetadata:
    """What an endpoint's main model (or the version that is asked for) takes and gives, and the versions that answer.

    Args:
        target: with its project.
    Raises:
        NotFound, Unavailable: see `Plane.route`.
    """
    route, model = await _warm_model(plane, token, target)
    versions = sorted({one.revision.model_version for one in route.answering})
    inputs = [TensorMetadata(name=s.name, datatype=s.datatype, shape=s.shape) for s in model.signature.inputs]
    return ModelMetadata(
        name=target.name,
        versions=tuple(map(str, versions)),
        platform=_platform(model)[0],
        inputs=tuple(inputs),
        outputs=_outputs(model),
    )


async def model_config(plane: Plane, token: PlanToken, target: Target) -> ModelConfig:
    """How it is served, in Triton's form.

    Raises:
        NotFound, Unavailable: see `Plane.route`.
    """
    _, model = await _warm_model(plane, token, target)
    platform, backend = _platform(model)
    with_rows = has_rows(model.signature)
    batched = model.batcher.rows_max
    inputs = [TensorMetadata(name=s.name, datatype=s.datatype, shape=s.shape) for s in model.signature.inputs]
    return ModelConfig(
        name=target.name,
        platform=platform,
        backend=backend,
        max_batch_size=ROWS_MAX if with_rows else 0,
        input=_configs(inputs, with_rows),
        output=_configs(_outputs(model), with_rows),
        model_transaction_policy=TransactionPolicy(decoupled=model.signature.streams),
        dynamic_batching=DynamicBatching(preferred_batch_size=(batched,)) if batched > 1 else None,
    )


def model_statistics(plane: Plane, token: PlanToken, target: Target | None, home: str = "") -> StatisticsAnswer:
    """What was counted of one endpoint, or of every one the token may ask, version by version.

    Args:
        home: the project whose models are named without it.
    Raises:
        NotFound, Unavailable: see `Plane.route`.
    """
    if target is not None:
        route = plane.route(token, target.project, target.name, target.version)
        found = [one for one in _models(route) if target.version in (0, one.revision.model_version)]
        return StatisticsAnswer(model_stats=tuple(_statistics(target.name, model) for model in found))
    told = [
        _statistics(shown_name(project, name, home), model)
        for (project, name), route in sorted(plane.routes.items())
        if token.may_ask(project)
        for model in _models(route)
    ]
    return StatisticsAnswer(model_stats=tuple(told))


def repository_index(
    plane: Plane, token: PlanToken, home: str = "", *, ready_only: bool = False
) -> tuple[IndexedModel, ...]:
    """Every version of every endpoint the token may ask, with its state.

    Args:
        home: the project whose models are named without it.
    """
    return tuple(
        IndexedModel(
            name=shown_name(one.project, one.name, home), version=one.version, state=one.state, reason=one.reason
        )
        for one in plane.index(token)
        if one.state == "READY" or not ready_only
    )


def shown_name(project: str, name: str, home: str) -> str:
    """A model's name as this client may ask for it."""
    return name if project == home else f"{project}/{name}"


def unready(plane: Plane) -> list[str]:
    """What is missing until every endpoint is answered; nothing of a plane that is ready."""
    if not plane.has_plan:
        return ["no serving plan yet"]
    if not plane.is_current:
        return ["the newest serving plan is asked for"]
    return [f"{project}/{name}" for project, name in plane.planned if (project, name) not in plane.routes]


def main_model(route: Route, version: int = 0) -> Model:
    """The version that is asked for, or the one with most of the traffic.

    Raises:
        NotFound: the version is not served.
    """
    model: Model | None = route.version(version) if version else max(route.answering, key=lambda one: one.weight)
    if model is None:
        raise NotFound(f"endpoint {route.endpoint.name!r} does not serve version {version}.")
    return model


async def _warm_model(plane: Plane, token: PlanToken, target: Target) -> tuple[Route, Model]:
    """The route and its model, which was loaded at least once: only then its outputs are known."""
    route = plane.route(token, target.project, target.name, target.version)
    model = main_model(route, target.version)
    if not model.example:
        await plane.warm(token, target.project, target.name, target.version)
    return route, model


def _models(route: Route) -> Iterable[Model]:
    return (*route.answering, *route.shadows)


def _outputs(model: Model) -> tuple[TensorMetadata, ...]:
    """As they are named and typed on the wire. What one answer looked like tells it; a free first axis is the batch."""
    first = (-1,) if has_rows(model.signature) else ()
    return tuple(
        TensorMetadata(name=name, datatype=datatype_of(array), shape=(*first, *array.shape[len(first) :]))
        for name, array in model.example.items()
    )


def _platform(model: Model) -> tuple[str, str]:
    runtime = model.revision.runtime
    return PLATFORMS.get(runtime, (runtime, runtime))


def _configs(tensors: Iterable[TensorMetadata], with_rows: bool) -> tuple[TensorConfig, ...]:
    return tuple(
        TensorConfig(
            name=one.name,
            data_type=f"TYPE_{TRITON_NAMES.get(one.datatype, one.datatype)}",
            dims=one.shape[1:] if with_rows else one.shape,
        )
        for one in tensors
    )


def _statistics(name: str, model: Model) -> ModelStatistics:
    counted = model.batcher.statistics
    executions = counted.executions.total()
    return ModelStatistics(
        name=name,
        version=str(model.revision.model_version),
        last_inference=counted.last_ms,
        inference_count=counted.rows,
        execution_count=executions,
        inference_stats=InferenceStatistics(
            success=Duration(count=counted.answered, ns=counted.total_ns),
            fail=Duration(count=counted.failed, ns=counted.failed_ns),
            queue=Duration(count=counted.answered, ns=counted.queue_ns),
            compute_infer=Duration(count=executions, ns=counted.compute_ns),
        ),
        batch_stats=tuple(
            BatchStatistics(batch_size=size, compute_infer=Duration(count=count, ns=counted.execution_ns[size]))
            for size, count in sorted(counted.executions.items())
        ),
        memory_usage=_memory(model),
    )


def _memory(model: Model) -> tuple[MemoryUsage, ...]:
    size = model.memory_bytes
    return (MemoryUsage(type="CPU", id=0, byte_size=size),) if size else ()
