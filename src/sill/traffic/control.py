"""How the inference plane speaks to the control plane: six calls over HTTP, each in the thread that makes it."""

import http.client
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

from sill.core.errors import InvalidValue, SillError, TooLarge, Unavailable, every_error
from sill.core.settings import Settings
from sill.endpoints.types import ServingPlan
from sill.safety.private_files import read_private
from sill.traffic.types import Gateways, GatewayState, ReplicaList, ReplicaState, ServingReport

API = "/api/v1"
TIMEOUT_S = 30.0
ANSWER_BYTES_MAX = 2 * 1024**3
"""Largest bundle file that is fetched."""
PLAN_BYTES_MAX = 256 * 1024 * 1024


class Control:
    """The control plane, as the inference plane needs it. Each call has its own connection, so any thread may make it.

    Args:
        url: such as `http://127.0.0.1:7455`.
        token: gives the bearer token; asked for each call, so that a token renewed on disk is taken up.

    Attributes:
        url: as given.
    """

    def __init__(self, url: str, token: Callable[[], str]) -> None:
        self.url = url
        self._address = urlsplit(url)
        if self._address.scheme not in ("http", "https") or not self._address.hostname:
            raise InvalidValue(f"{url!r} is not an http address.", fix="Set SILL_URL.")
        self._token = token

    def plan(self, after: int, wait_s: float) -> ServingPlan:
        """The serving plan; waits up to `wait_s` for one newer than `after`.

        Raises:
            Unavailable: the control plane did not answer.
        """
        path = f"/serving/plan?after_revision={after}&wait_s={wait_s:g}"
        body = self._call("GET", path, timeout_s=TIMEOUT_S + wait_s, bytes_max=PLAN_BYTES_MAX)
        return msgspec.json.decode(body, type=ServingPlan)

    def file(self, project: str, model: str, version: int, path: str) -> bytes:
        """One file of a model version."""
        names = "/".join(quote(part, safe="") for part in path.split("/"))
        return self._call("GET", f"/projects/{quote(project)}/models/{quote(model)}/versions/{version}/files/{names}")

    def log(self, batch: bytes) -> None:
        """Hand over a batch of rows, already encoded. A repeat is harmless: the batch carries its id."""
        self._call("POST", "/serving/log", batch)

    def report(self, report: ServingReport) -> None:
        """Tell that a revision cannot be made ready."""
        self._call("POST", "/serving/report", msgspec.json.encode(report))

    def announce(self, state: ReplicaState) -> Gateways:
        """Tell that a replica is there; whose requests it answers."""
        return msgspec.json.decode(self._call("POST", "/serving/replica", msgspec.json.encode(state)), type=Gateways)

    def replicas(self, state: GatewayState) -> ReplicaList:
        """Tell how many replicas a gateway needs; those it has."""
        body = msgspec.json.encode(state)
        return msgspec.json.decode(self._call("POST", "/serving/gateway", body), type=ReplicaList)

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        bytes_max: int = ANSWER_BYTES_MAX,
    ) -> bytes:
        headers = {"Authorization": f"Bearer {self._token()}", "Accept-Encoding": "identity"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connect(timeout_s)
        try:
            connection.request(method, self._address.path.rstrip("/") + API + path, body, headers)
            answer = connection.getresponse()
            content = answer.read(bytes_max + 1)
        except (OSError, http.client.HTTPException) as broken:
            raise Unavailable(f"the control plane at {self.url} does not answer: {broken}.") from broken
        finally:
            connection.close()
        if len(content) > bytes_max:
            raise TooLarge(f"the control plane answered more than {bytes_max:,} bytes to {path}.")
        if answer.status >= 400:
            raise _error(answer.status, content)
        return content

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        host, port = self._address.hostname or "", self._address.port
        if self._address.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, port, timeout=timeout_s)


def given_control(settings: Settings, *, is_run: bool = False) -> Control:
    """The control plane as the environment names it to this process, else the home's own.

    Args:
        is_run: this process is an engine's run, so its token is in `SILL_TOKEN`; otherwise it lies in a file.
    """
    token_file = Path(os.environ.get("SILL_TOKEN_FILE", "") or settings.home / "token")

    def token() -> str:
        return os.environ["SILL_TOKEN"] if is_run else read_private(token_file).decode().strip()

    return Control(os.environ.get("SILL_URL", "") or settings.url, token)


class _Problem(msgspec.Struct):
    """The parts of an error body that matter here."""

    code: str = ""
    message: str = ""


def _error(status: int, content: bytes) -> SillError:
    try:
        problem = msgspec.json.decode(content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    message = problem.message or f"the control plane answered {status}."
    kind = every_error().get(problem.code, Unavailable if status >= 500 else InvalidValue)
    return kind(message)
