"""Traces for MLflow's clients, and spans from any exporter of OpenTelemetry."""

from functools import partial

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from sill.api.downloads import BINARY, download, download_headers
from sill.api.mlflow.wiring import WireRoutes
from sill.api.routing import Call
from sill.core.errors import InvalidValue, TooLarge, UnsupportedType
from sill.core.names import shorten
from sill.protocols.mlflow import traces as messages
from sill.protocols.mlflow.errors import missing_value
from sill.protocols.mlflow.spans import span_file
from sill.protocols.otlp import traces as otlp
from sill.runs.experiments.types import DEFAULT_ID
from sill.runs.tracing.rules import unwrapped

ROUTES = WireRoutes(tag="traces")
EXPERIMENT_HEADER = "x-mlflow-experiment-id"
RUN_HEADER = "x-mlflow-run-id"
FILE = "traces.json"
_YES = ("true", "1")


@ROUTES.root("POST", "/v1/traces", scope="runs:write", is_raw=True)
async def export_traces(call: Call) -> Response:
    """Take spans (OTLP over HTTP, protobuf or JSON) into the experiment of the header, else into the default one."""
    media = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in (otlp.PROTOBUF, otlp.JSON):
        raise UnsupportedType(
            f"content type {shorten(media)!r} is not taken here; {otlp.PROTOBUF} and {otlp.JSON} are.", fix="Send OTLP."
        )
    spans = otlp.decode(await _whole(call), media)
    opened = [msgspec.structs.replace(span, attributes=unwrapped(span.attributes)) for span in spans]
    experiment_id = call.request.headers.get(EXPERIMENT_HEADER, "").strip() or DEFAULT_ID
    tracing = call.services.tracing
    logged = await tracing.log_spans(call.actor, call.project, experiment_id, opened)
    run_id = call.request.headers.get(RUN_HEADER, "").strip()
    if run_id:
        for at in range(0, len(logged.traces), 100):
            await tracing.link_run(call.actor, call.project, run_id, logged.traces[at : at + 100])
    return Response(otlp.encode_answer(media), media_type=media)


@ROUTES.post("/mlflow/traces", version=3, scope="runs:write", body=messages.StartTrace, required=("trace",))
async def start_trace(call: Call) -> messages.TraceAnswer:
    """Keep what a client says of a whole trace."""
    kept = await call.services.tracing.report(call.actor, call.project, messages.trace_in(call.body))
    return messages.TraceAnswer(trace=messages.TraceWire(trace_info=messages.info_out(kept)))


@ROUTES.get("/mlflow/traces/{trace_id}", version=3, scope="runs:read")
async def get_trace_info(call: Call) -> messages.TraceAnswer:
    """One trace without its spans."""
    found = await call.services.traces.trace(call.actor, call.project, call.path["trace_id"])
    return messages.TraceAnswer(trace=messages.TraceWire(trace_info=messages.info_out(found)))


@ROUTES.get("/mlflow/traces/get", version=3, scope="runs:read", body=messages.GetTrace, required=("trace_id",))
async def get_trace(call: Call) -> messages.TraceAnswer:
    """One trace with its spans."""
    body: messages.GetTrace = call.body
    is_partial = str(body.allow_partial or "").lower() in _YES
    found = await call.services.traces.record(call.actor, call.project, body.trace_id or "", is_partial=is_partial)
    return messages.TraceAnswer(trace=messages.record_out(found))


@ROUTES.get("/mlflow/traces/batchGet", version=3, scope="runs:read", body=messages.TraceIds, required=("trace_ids",))
async def batch_get_traces(call: Call) -> messages.TracesAnswer:
    """Several traces with their spans; those whose spans are not all there are left out."""
    found = await call.services.traces.records(call.actor, call.project, call.body.trace_ids)
    return messages.TracesAnswer(traces=tuple(map(messages.record_out, found)))


@ROUTES.post(
    "/mlflow/traces/batchGetInfos", version=3, scope="runs:read", body=messages.TraceIds, required=("trace_ids",)
)
async def batch_get_trace_infos(call: Call) -> messages.TraceInfosAnswer:
    """Several traces without their spans."""
    found = await call.services.traces.traces(call.actor, call.project, call.body.trace_ids)
    return messages.TraceInfosAnswer(trace_infos=tuple(map(messages.info_out, found)))


@ROUTES.post("/mlflow/traces/search", version=3, scope="runs:read", body=messages.SearchTraces, required=("locations",))
async def search_traces(call: Call) -> messages.FoundTraces:
    """Traces that match a filter."""
    body: messages.SearchTraces = call.body
    page = await call.services.traces.search(
        call.actor,
        call.project,
        messages.experiments_of(body.locations),
        filter=body.filter or "",
        order_by=body.order_by or (),
        limit=body.max_results,
        after=body.page_token or "",
    )
    return messages.FoundTraces(traces=tuple(map(messages.info_out, page.items)), next_page_token=page.next or None)


@ROUTES.post(
    "/mlflow/traces/delete-traces",
    version=3,
    scope="runs:write",
    body=messages.DeleteTraces,
    required=("experiment_id",),
)
@ROUTES.post(
    "/mlflow/traces/delete-traces", scope="runs:write", body=messages.DeleteTraces, required=("experiment_id",)
)
async def delete_traces(call: Call) -> messages.DeletedTraces:
    """Delete traces of an experiment: these, or the oldest up to a time."""
    body: messages.DeleteTraces = call.body
    deleted = await call.services.tracing.delete(
        call.actor, call.project, body.experiment_id or "", messages.selection_in(body)
    )
    return messages.DeletedTraces(traces_deleted=deleted.traces)


@ROUTES.patch(
    "/mlflow/traces/{trace_id}/tags", version=3, scope="runs:write", body=messages.TraceTag, required=("key",)
)
@ROUTES.patch("/mlflow/traces/{trace_id}/tags", scope="runs:write", body=messages.TraceTag, required=("key",))
async def set_trace_tag(call: Call) -> None:
    """Set a tag of a trace."""
    body: messages.TraceTag = call.body
    trace_id = call.path["trace_id"]
    await call.services.tracing.set_tag(call.actor, call.project, trace_id, body.key or "", body.value or "")


@ROUTES.delete(
    "/mlflow/traces/{trace_id}/tags", version=3, scope="runs:write", body=messages.TraceTag, required=("key",)
)
@ROUTES.delete("/mlflow/traces/{trace_id}/tags", scope="runs:write", body=messages.TraceTag, required=("key",))
async def delete_trace_tag(call: Call) -> None:
    """Take a tag off a trace."""
    await call.services.tracing.delete_tag(call.actor, call.project, call.path["trace_id"], call.body.key)


@ROUTES.post(
    "/mlflow/traces/link-to-run", scope="runs:write", body=messages.LinkTraces, required=("trace_ids", "run_id")
)
async def link_traces_to_run(call: Call) -> None:
    """Keep that traces belong to a run."""
    body: messages.LinkTraces = call.body
    await call.services.tracing.link_run(call.actor, call.project, body.run_id or "", body.trace_ids or ())


@ROUTES.post(
    "/mlflow/traces/link-prompts",
    scope="runs:write",
    body=messages.LinkPrompts,
    required=("trace_id", "prompt_versions"),
)
async def link_prompts_to_trace(call: Call) -> None:
    """Keep that a trace used versions of prompts."""
    body: messages.LinkPrompts = call.body
    prompts = messages.prompts_in(body)
    await call.services.tracing.link_prompts(call.actor, call.project, body.trace_id or "", prompts)


@ROUTES.post(
    "/mlflow/traces/calculate-filter-correlation",
    version=3,
    scope="runs:read",
    body=messages.Correlate,
    required=("experiment_ids", "filter_string1", "filter_string2"),
)
async def correlate_filters(call: Call) -> messages.Correlated:
    """How often two filters hold of the same trace."""
    body: messages.Correlate = call.body
    found = await call.services.traces.correlate(
        call.actor,
        call.project,
        body.experiment_ids or (),
        body.filter_string1 or "",
        body.filter_string2 or "",
        body.base_filter or "",
    )
    return messages.correlation_out(found)


@ROUTES.post(
    "/mlflow/traces/metrics",
    version=3,
    scope="runs:read",
    body=messages.QueryMetrics,
    required=("experiment_ids", "view_type", "metric_name", "aggregations"),
)
async def query_trace_metrics(call: Call) -> messages.MetricsAnswer:
    """A metric of traces, of their spans or of their assessments."""
    points = await call.services.traces.measure(call.actor, call.project, messages.query_in(call.body))
    return messages.MetricsAnswer(data_points=tuple(map(messages.point_out, points)))


@ROUTES.get("/mlflow/get-trace-artifact", version=3, scope="runs:read", body=messages.TraceFile)
@ROUTES.get("/mlflow/get-trace-artifact", scope="runs:read", body=messages.TraceFile)
async def get_trace_artifact(call: Call) -> Response:
    """The spans of a trace as a file, as far as they have come."""
    body: messages.TraceFile = call.body
    if not body.request_id:
        raise missing_value("request_id")
    if body.path:
        return await _attachment(call, body.request_id, body.path)
    found = await call.services.traces.record(call.actor, call.project, body.request_id, is_partial=True)
    content = msgspec.json.encode({"spans": [span_file(span) for span in found.spans]})
    return Response(content, media_type=BINARY, headers=download_headers(FILE, len(content)))


@ROUTES.post("/mlflow/traces", scope="runs:write", body=messages.BeginTraceV2)
async def begin_trace(call: Call) -> messages.TraceInfoAnswerV2:
    """Keep a trace that has begun (version 2)."""
    kept = await call.services.tracing.begin(call.actor, call.project, messages.begun_in(call.body))
    return messages.TraceInfoAnswerV2(trace_info=messages.info_out_v2(kept))


@ROUTES.patch("/mlflow/traces/{trace_id}", scope="runs:write", body=messages.EndTraceV2)
async def end_trace(call: Call) -> messages.TraceInfoAnswerV2:
    """Keep how a trace ended (version 2)."""
    end = messages.end_in(call.body)
    kept = await call.services.tracing.end(call.actor, call.project, call.path["trace_id"], end)
    return messages.TraceInfoAnswerV2(trace_info=messages.info_out_v2(kept))


@ROUTES.get("/mlflow/traces/{trace_id}/info", scope="runs:read")
async def get_trace_info_v2(call: Call) -> messages.TraceInfoAnswerV2:
    """One trace without its spans (version 2)."""
    found = await call.services.traces.trace(call.actor, call.project, call.path["trace_id"])
    return messages.TraceInfoAnswerV2(trace_info=messages.info_out_v2(found))


@ROUTES.get("/mlflow/traces", scope="runs:read", body=messages.SearchTracesV2, required=("experiment_ids",))
async def search_traces_v2(call: Call) -> messages.FoundTracesV2:
    """Traces that match a filter (version 2)."""
    body: messages.SearchTracesV2 = call.body
    page = await call.services.traces.search(
        call.actor,
        call.project,
        body.experiment_ids or (),
        filter=body.filter or "",
        order_by=body.order_by or (),
        limit=body.max_results,
        after=body.page_token or "",
    )
    return messages.FoundTracesV2(
        traces=tuple(map(messages.info_out_v2, page.items)), next_page_token=page.next or None
    )


async def _attachment(call: Call, trace_id: str, path: str) -> Response:
    """A file a client keeps beside the trace."""
    artifacts = call.services.artifacts
    found = await artifacts.find(call.actor, call.project, trace_id, path)
    return await download(call.request, found.path, found.size_bytes, found.digest, partial(artifacts.open, found))


async def _whole(call: Call) -> bytes:
    """The body, up to the limit of bodies that are held at once.

    Raises:
        TooLarge: it is longer.
    """
    limit = call.services.settings.body_bytes_max
    body = bytearray()
    with call.services.body_memory.reserve() as held:
        try:
            async for piece in call.request.stream():
                held.grow(len(piece))
                body += piece
                if len(body) > limit:
                    raise TooLarge(f"the body is larger than {limit} bytes.", fix="Send fewer spans at once.")
        except ClientDisconnect as gone:
            raise InvalidValue("the body ended before it was whole.") from gone
    return bytes(body)
