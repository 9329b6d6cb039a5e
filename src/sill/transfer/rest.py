"""Speaks MLflow's REST dialect to one server, Sill's own door among them. What is said is left to the callers."""

import base64
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from sill.core.errors import Forbidden, InvalidValue, NotFound, Refused, SillError, Unauthenticated, Unavailable
from sill.core.names import shorten
from sill.sdk.client import Client, open_http
from sill.transfer.types import Read

API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
TIMEOUT_S = 300.0
TRIES_MAX = 5
RETRY_S = 0.25
PIECE_BYTES = 1024 * 1024
PROXIED = "mlflow-artifacts:"
_BUSY = (429, 502, 503, 504)
_KINDS: dict[int, type[SillError]] = {401: Unauthenticated, 403: Forbidden, 404: NotFound}


class Rest:
    """One server.

    Args:
        url: what its REST paths are below; user and password in it are sent, and told to nobody.
        headers: sent with every call; from MLFLOW_TRACKING_TOKEN, or _USERNAME and _PASSWORD, if there are none.
        http: to send with, such as a client onto an app in this process.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, http: httpx.Client | None = None) -> None:
        try:
            given = httpx.URL(url)
        except httpx.InvalidURL as wrong:
            raise InvalidValue(f"{shorten(url)!r} is not an address: {wrong}.", fix="Give http://HOST:PORT.") from wrong
        self.address = str(given.copy_with(username=None, password=None, query=None, fragment=None)).rstrip("/")
        own = {"authorization": _basic(given.username, given.password)} if given.username else headers
        self._headers = dict(_from_environment() if own is None else own)
        self._http = http or open_http(self.address, TIMEOUT_S)

    def get(self, path: str, /, **query: Any) -> dict[str, Any]:
        """GET below `API`; what is None is left out."""
        return self._json("GET", path, query={name: value for name, value in query.items() if value is not None})

    def post(self, path: str, /, **body: Any) -> dict[str, Any]:
        """POST below `API`."""
        return self._json("POST", path, body=body)

    def make(self, path: str, /, **body: Any) -> dict[str, Any]:
        """POST that makes something: it is not sent again when the connection breaks."""
        return self._json("POST", path, body=body, tries=1)

    def patch(self, path: str, /, **body: Any) -> dict[str, Any]:
        """PATCH below `API`."""
        return self._json("PATCH", path, body=body)

    def delete(self, path: str, /, **body: Any) -> dict[str, Any]:
        """DELETE below `API`."""
        return self._json("DELETE", path, body=body)

    def put_file(self, path: str, size_bytes: int, read: Read) -> None:
        """Write a file below `FILES`."""
        headers = {"content-length": str(size_bytes), "content-type": "application/octet-stream"}
        self._try(lambda: self._send("PUT", FILES + quote(f"/{path}"), content=read(), headers=headers))

    @contextmanager
    def open(self, path: str, /, **query: Any) -> Iterator[Iterator[bytes]]:
        """The bytes of what lies at a path below the address."""
        url = self.address + path
        request = self._http.build_request("GET", url, params=query or None, headers=self._headers)
        try:
            answer = self._http.send(request, stream=True)
            try:
                _check(answer)
                yield answer.iter_bytes(PIECE_BYTES)
            finally:
                answer.close()
        except httpx.TransportError as broken:
            raise self._unreachable(broken) from broken

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _json(self, method: str, path: str, *, tries: int = TRIES_MAX, **parts: Any) -> dict[str, Any]:
        body = parts.get("body")
        content = json.dumps(body).encode() if body is not None else None
        headers = {"content-type": "application/json"} if content is not None else {}

        def send() -> httpx.Response:
            return self._send(method, API + path, params=parts.get("query"), content=content, headers=headers)

        answer = self._try(send, tries)
        try:
            # MLflow writes NaN and Infinity as bare words in places, which is not JSON: json takes them, msgspec does not.
            read = json.loads(answer.content or b"{}")
        except ValueError as wrong:
            raise Unavailable(
                f"{self.address} answered {path} with what is no JSON.", fix="Is it an MLflow server?"
            ) from wrong
        return read if isinstance(read, dict) else {}

    def _send(self, method: str, path: str, **parts: Any) -> httpx.Response:
        headers = {**self._headers, **parts.pop("headers", {})}
        answer = self._http.request(method, self.address + path, headers=headers, **parts)
        _check(answer)
        return answer

    def _try(self, send: Any, tries: int = TRIES_MAX) -> httpx.Response:
        """Send, and again if nobody answers or the server is busy."""
        for tried in range(1, tries + 1):
            try:
                answer: httpx.Response = send()
                return answer
            except httpx.TransportError as broken:
                if tried == tries:
                    raise self._unreachable(broken) from broken
            except Unavailable:
                if tried == tries:
                    raise
            time.sleep(RETRY_S * 2**tried)
        raise AssertionError("unreachable")

    def _unreachable(self, broken: Exception) -> Unavailable:
        return Unavailable(
            f"no server answers at {self.address} ({type(broken).__name__}).",
            fix="Start it, and give the command again.",
        )


def of_sill(client: Client) -> Rest:
    """The MLflow door of a project of Sill."""
    return Rest(f"{client.url}/projects/{client.project}", client.authorization)


def proxied_path(base: str) -> str:
    """The path below `FILES` of an address of files that go through the server.

    Raises:
        Refused: files of this address do not.
    """
    if not base.startswith(PROXIED):
        raise Refused(
            f"files at {shorten(base)!r} do not go through the server.", fix="Start the server with --serve-artifacts."
        )
    rest = base.removeprefix(PROXIED)
    return rest.removeprefix("//").partition("/")[2] if rest.startswith("//") else rest.lstrip("/")


def quoted(text: str) -> str:
    """A text as a filter writes it: in the quotes that it does not hold."""
    return f'"{text}"' if "'" in text else f"'{text}'"


def _check(answer: httpx.Response) -> None:
    """Raise the error of an answer that is one."""
    if answer.is_success:
        return
    text = answer.read().decode(errors="replace")
    try:
        told = json.loads(text)
        message = str(told.get("message") or told.get("error_code"))
    except (ValueError, AttributeError):
        message = text
    said = f"{answer.request.url.path} answered {answer.status_code}: {shorten(message, 300)}"
    if answer.status_code in _BUSY:
        raise Unavailable(said, fix="Try again.")
    kind = _KINDS.get(answer.status_code, Refused if answer.is_client_error else Unavailable)
    raise kind(said)


def _from_environment() -> dict[str, str]:
    """What MLflow's own client would send."""
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    user = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    if token:
        return {"authorization": f"Bearer {token}"}
    return {"authorization": _basic(user, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))} if user else {}


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
