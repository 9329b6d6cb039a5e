"""Generated requests to every operation of both planes: no answer is an error of the server, and all of it lives on."""

import json
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sill.testing.live import PROJECT, Live, fill
from sill.testing.routes import document

EXAMPLES = 20
JSON = {"content-type": "application/json"}
LAST = ("delete_", "cancel_run", "log_out", "revoke_token", "apply_project")
"""What takes away the things that the other operations are about comes last."""
FUZZ = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
SCHEMA = schemathesis.openapi.from_dict(document())


def name_of(operation: Any) -> str:
    """The operation's id, which is its handler's name."""
    return str(operation.definition.raw["operationId"])


OPERATIONS = sorted(
    (each.ok() for each in SCHEMA.get_all_operations()), key=lambda each: name_of(each).startswith(LAST)
)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A platform of its own: what the fuzzer is let do, it does."""
    platform = Live(tmp_path_factory.mktemp("fuzz") / "home", SILL_CPUS="1", SILL_UPLOAD_BYTES_MAX="1000000")
    try:
        platform.start()
        fill(platform)
        yield platform
    finally:
        platform.stop()


@pytest.fixture(scope="module")
def session(victim: Live) -> Iterator[requests.Session]:
    """A connection that is kept, with the root token."""
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {victim.tokens['root']}"
        session.trust_env = False
        yield session


@pytest.mark.parametrize("operation", OPERATIONS, ids=name_of)
def test_no_generated_request_is_an_error_of_the_server(
    victim: Live, session: requests.Session, operation: Any
) -> None:
    @given(case=operation.as_strategy(), is_about_things=st.booleans())
    @FUZZ
    def attempt(case: Any, is_about_things: bool) -> None:
        aim(case, victim, is_about_things)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # schemathesis says which bodies it could not serialise
            answer = case.call(base_url=victim.url, session=session, timeout=60)
        assert answer.status_code < 500, f"{case.as_curl_command()}\n{answer.text}"
        if answer.status_code >= 400:
            assert {"code", "status", "message", "fix", "request_id"} <= set(answer.json())

    attempt()


def aim(case: Any, victim: Live, is_about_things: bool) -> None:
    """Point a generated request at our project, half of the time at things that exist, and let it not wait."""
    known = {"run_id": victim.run_id, "version": "1", "alias": "champion", "kind": "pipeline", "path": "thing.txt"}
    for name in case.path_parameters or {}:
        if name == "project":
            case.path_parameters[name] = PROJECT
        elif is_about_things:
            case.path_parameters[name] = known.get(name, "thing")
    if case.query and "wait_s" in case.query:
        case.query["wait_s"] = 0
    if is_about_things and isinstance(case.body, dict):
        for name, value in (("project", PROJECT), ("name", "thing"), ("model", "thing")):
            if name in case.body:
                case.body[name] = value


TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["input", "age", "income"]) | st.text(max_size=20),
        "datatype": st.sampled_from(["FP32", "FP64", "INT64", "UINT8", "BOOL", "BYTES", "FP16", "BF16"]) | st.text(),
        "shape": st.lists(st.integers(-(2**70), 2**70) | st.integers(-1, 4) | st.floats(), max_size=4),
        "data": st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=4),
            max_leaves=12,
        ),
        "parameters": st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=2),
    },
)
INFER = st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR, max_size=3)},
    optional={
        "id": st.text(max_size=80) | st.integers(),
        "parameters": st.dictionaries(
            st.sampled_from(["entity", "binary_data_output"]), st.integers() | st.text(), max_size=2
        ),
        "outputs": st.lists(st.fixed_dictionaries({"name": st.text(max_size=8)}), max_size=2),
    },
)
PLACE = st.sampled_from(
    [f"/v2/models/{PROJECT}/thing/infer", "/v2/models/thing/infer", f"/v2/models/{PROJECT}/thing/versions/1/infer"]
)


def test_no_generated_question_is_an_error_of_the_inference_plane(victim: Live) -> None:
    with httpx.Client(base_url=victim.inference_url, trust_env=False, timeout=60) as client:
        client.headers["authorization"] = f"Bearer {victim.tokens['root']}"

        @given(
            path=PLACE,
            body=INFER | st.text() | st.lists(st.none()),
            project=st.sampled_from([PROJECT, "nothing", "../x"]),
        )
        @settings(FUZZ, max_examples=300)
        def attempt(path: str, body: Any, project: str) -> None:
            answer = client.post(path, content=encode(body), headers={"x-sill-project": project, **JSON})
            assert answer.status_code < 500, f"{path} {body} {answer.text}"

        attempt()


def test_no_generated_path_is_an_error_of_the_inference_plane(victim: Live) -> None:
    with httpx.Client(base_url=victim.inference_url, trust_env=False, timeout=60) as client:
        parts = st.sampled_from(
            ["v2", "models", "thing", PROJECT, "versions", "1", "ready", "infer", "health", "live", "%00", "..%2f"]
        )

        @given(
            parts=st.lists(parts | st.text("abc/%.~", max_size=4), max_size=8),
            method=st.sampled_from(["GET", "POST", "PUT"]),
        )
        @settings(FUZZ, max_examples=200)
        def attempt(parts: list[str], method: str) -> None:
            path = "/".join(["", *parts]).replace("%", "%25")
            answer = client.request(method, httpx.URL(victim.inference_url).copy_with(raw_path=path.encode() or b"/"))
            assert answer.status_code < 500, f"{method} {path} {answer.text}"

        attempt()


def test_what_was_fuzzed_is_whole_and_the_same_processes_answer(victim: Live) -> None:
    with victim.client("root") as client:
        assert client.get("/health").status_code == 200
        assert client.get("/api/v1/audit").json()["broken_at"] == 0
    assert victim.ended("sill.api", "sill.api.inference") == []
    assert "Traceback" not in victim.log(), victim.log()[victim.log().index("Traceback") - 1_000 :][:4_000]


def encode(value: Any) -> bytes:
    """JSON, also of what is none: NaN, lone surrogates."""
    return json.dumps(value).encode("utf-8", "surrogatepass")
