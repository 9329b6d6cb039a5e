"""A pytest plugin that points MLflow's own tests at a running Sill. It runs in the client's environment, not in ours.

What starts a server in those tests (`ServerThread`, `_init_server`, `_launch_server`, `mlflow server`) starts none and
gets the address of a fresh project instead; the fixtures that choose a store by its URI get such an address too. Nothing
else of a test is changed. Each test's outcome is appended to a file, with whether it spoke to Sill at all.
"""

import contextlib
import fnmatch
import itertools
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import requests

URL = os.environ["SILL_CONFORMANCE_URL"]
TOKEN = os.environ["SILL_CONFORMANCE_TOKEN"]
PYTHON = os.environ["SILL_CONFORMANCE_PYTHON"]
HOME = Path(os.environ["SILL_CONFORMANCE_HOME"])
SETTINGS = json.loads(os.environ["SILL_CONFORMANCE_SETTINGS"])
OUTCOMES = Path(os.environ["SILL_CONFORMANCE_OUTCOMES"])
NOT_APPLICABLE = [line.split("\t") for line in os.environ["SILL_CONFORMANCE_NOT_APPLICABLE"].splitlines()]
START_S = 60
STORE_FIXTURES = ("tracking_uri", "registry_uri", "tracking_uri_mock")

_numbers = itertools.count(1)
_spoken: set[str] = set()
_shared: dict[str, str] = {}
_served: set[str] = set()
_current = ""


def fresh_project() -> str:
    """The address of a project that nothing was ever written to."""
    name = f"c{os.getpid()}-{next(_numbers)}"
    body = json.dumps({"project": name}).encode()
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{URL}/api/v1/projects", body, headers)):  # noqa: S310
        return f"{URL}/projects/{name}"


def shared_project() -> str:
    """The address of the project of the current test: its fixtures share one store with the first server it starts."""
    if _current not in _shared:
        _shared.clear()
        _shared[_current] = fresh_project()
    return _shared[_current]


@contextlib.contextmanager
def own_server(port: int, **settings: str):
    """A Sill of its own at a port, for tests that have the whole address before they start their server."""
    home = HOME / f"own-{next(_numbers)}"
    home.mkdir(mode=0o700)
    (home / "token").write_text(TOKEN)
    (home / "token").chmod(0o600)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SILL_", "MLFLOW_"))}
    environment = kept | {"SILL_HOME": str(home), "SILL_PORT": str(port)} | SETTINGS | settings
    with (home / "up.log").open("wb") as log:
        process = subprocess.Popen([PYTHON, "-m", "sill.api"], env=environment, stdout=log, stderr=log)
    try:
        for _ in range(START_S * 20):
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"http://127.0.0.1:{port}/health", timeout=2).ok:
                    break
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait()


class ServerThread:
    """Stands for the tests' own: a server in a thread."""

    def __init__(self, app: object, port: int) -> None:
        self.url = ""

    def __enter__(self) -> str:
        self.url = fresh_project() if _current in _served else shared_project()
        _served.add(_current)
        return self.url

    def __exit__(self, *_: object) -> None:
        return None


@contextlib.contextmanager
def init_server(*_: object, **__: object):
    """Stands for the tests' own: a server process."""
    yield fresh_project()


@contextlib.contextmanager
def launch_server(host: str, port: int, *_: object, **__: object):
    """Stands for the tests' own: `mlflow server` with a folder for artifacts."""
    with own_server(port) as process:
        yield process


def pytest_configure(config: pytest.Config) -> None:
    sys.path.insert(0, str(config.rootpath))
    import mlflow.server.handlers as handlers
    from tests.tracking import integration_test_utils

    handlers.initialize_backend_stores = lambda *_, **__: None
    integration_test_utils.ServerThread = ServerThread
    integration_test_utils._init_server = init_server
    _listen()


def _listen() -> None:
    """Note which tests speak to a Sill."""
    send = requests.Session.send

    def sent(session: requests.Session, request: requests.PreparedRequest, **options: object) -> requests.Response:
        answer = send(session, request, **options)
        if "x-request-id" in answer.headers:
            _spoken.add(_current)
        return answer

    requests.Session.send = sent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if hasattr(item.module, "_launch_server"):
            item.module._launch_server = launch_server
        for pattern, reason in NOT_APPLICABLE:
            if fnmatch.fnmatchcase(item.nodeid, pattern.replace("[", "[[]")):
                item.add_marker(pytest.mark.skip(reason=f"not applicable: {reason}"))


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest) -> object:
    """The fixtures that choose a store choose Sill."""
    is_value = fixturedef.func.__name__ == "get_direct_param_fixture_func"  # given by the test's own parameters
    if fixturedef.argname not in STORE_FIXTURES or is_value or "notrackingurimock" in request.keywords:
        return None
    import mlflow
    from mlflow.tracking._tracking_service import utils

    url = shared_project()
    if fixturedef.argname != "registry_uri":
        mlflow.tracing.disable()
        used = contextlib.ExitStack()
        used.enter_context(utils._use_tracking_uri(url))
        mlflow.tracing.enable()
        fixturedef.addfinalizer(used.close)
    fixturedef.cached_result = (url, fixturedef.cache_key(request), None)
    return url


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    global _current
    _current = item.nodeid
    yield


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        last = [line for line in str(report.longrepr).splitlines() if line.startswith("E ")]
        said = " ".join(last[-1:])[2:].strip()
        _note({"test": report.nodeid, "outcome": "not collected", "spoke": False, "said": said})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or (report.outcome != "passed" and report.when in ("setup", "teardown")):
        said = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        outcome = {
            "test": report.nodeid,
            "outcome": "xfailed" if hasattr(report, "wasxfail") else report.outcome,
            "spoke": report.nodeid in _spoken,
            "said": said or _last_line(report),
        }
        _note(outcome)


def _note(outcome: dict[str, object]) -> None:
    with OUTCOMES.open("a") as file:
        file.write(json.dumps(outcome) + "\n")


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message.splitlines()[0][:300] if crash is not None and crash.message else ""
