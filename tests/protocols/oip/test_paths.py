"""Every path of the protocol, and those that are none."""

import pytest

from sill.core.errors import MethodNotAllowed, SillError, UnsupportedType
from sill.protocols.oip.errors import error_body
from sill.protocols.oip.paths import Target, read_path


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("GET", "/v2", Target(verb="server")),
        ("GET", "/v2/", Target(verb="server")),
        ("GET", "/v2/health/live", Target(verb="live")),
        ("GET", "/v2/health/ready", Target(verb="ready")),
        ("GET", "/v2/models/churn", Target(verb="model", name="churn")),
        ("GET", "/v2/models/churn/ready", Target(verb="model_ready", name="churn")),
        ("GET", "/v2/models/churn/versions/3", Target(verb="model", name="churn", version=3)),
        ("GET", "/v2/models/churn/versions/3/ready", Target(verb="model_ready", name="churn", version=3)),
        ("POST", "/v2/models/churn/infer", Target(verb="infer", name="churn")),
        ("POST", "/v2/models/shop/churn/infer", Target(verb="infer", project="shop", name="churn")),
        ("GET", "/v2/models/churn/config", Target(verb="config", name="churn")),
        ("GET", "/v2/models/churn/versions/2/stats", Target(verb="stats", name="churn", version=2)),
        ("GET", "/v2/models/stats", Target(verb="all_stats")),
        ("POST", "/v2/models/churn/generate_stream", Target(verb="generate_stream", name="churn")),
        ("POST", "/v2/repository/index", Target(verb="index")),
        ("POST", "/v2/repository/models/shop/churn/unload", Target(verb="unload", project="shop", name="churn")),
        ("POST", "/invocations", Target(verb="invocations")),
        ("GET", "/ping", Target(verb="ping")),
        (
            "POST",
            "/v2/models/shop/churn/versions/12/infer",
            Target(verb="infer", project="shop", name="churn", version=12),
        ),
    ],
)
def test_a_path_of_the_protocol_names_its_operation(method: str, path: str, target: Target) -> None:
    assert read_path(method, path) == target


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v2/models",
        "/v2/models/",
        "/v2/models/ /infer",
        "/v2/models/../infer",
        "/v2/models/%2e%2e/infer",
        "/v2/models/churn/versions/-1/infer",
        "/v2/models/churn/versions/0/infer",
        "/v2/models/churn/versions/99999999999999999999/infer",
        "/v2/models/churn/versions/x/infer",
        "/v2/models/a/b/c/infer",
        "/v2/models/Churn/infer",
        "/v2/models/" + "a" * 4_000 + "/infer",
        "/v2/repository/models/../../x/load",
        "/v2/repository/models/churn/delete",
        "/v1/models/churn",
    ],
)
def test_a_name_or_path_that_cannot_be_is_a_4xx(path: str) -> None:  # B54, B62
    with pytest.raises(SillError) as refused:
        read_path("POST", path)

    assert refused.value.status in (400, 404, 405)


@pytest.mark.parametrize(
    "path", ["/v2/trace/setting", "/v2/models/churn/trace/setting", "/v2/logging", "/v2/systemsharedmemory/status"]
)
def test_an_extension_that_is_not_there_is_named(path: str) -> None:  # B53
    with pytest.raises(UnsupportedType, match="extension is not supported"):
        read_path("GET", path)


def test_the_wrong_verb_is_told() -> None:
    with pytest.raises(MethodNotAllowed, match="POST"):
        read_path("GET", "/v2/models/churn/infer")


def test_our_problem_becomes_the_protocols_error() -> None:
    problem = b'{"code":"not_found","status":404,"message":"no endpoint.","fix":"Look.","request_id":"req-1"}'

    assert error_body(problem) == b'{"error":"not_found: no endpoint. Look."}'
