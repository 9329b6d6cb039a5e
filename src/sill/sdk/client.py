"""The one HTTP client behind the SDK and the CLI: finds the server and its token, sends, and turns errors back."""

import os
import ssl
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from sill.core.errors import InvalidValue, SillError, Unauthenticated, Unavailable, every_error
from sill.core.names import check_name, shorten
from sill.core.settings import read_settings

T = TypeVar("T")

TIMEOUT_S = 120.0
TRIES_MAX = 5
RETRY_S = 0.2


class Client:
    """Speaks to one control plane.

    Args:
        url: where it is; `SILL_URL`, then the settings, when empty.
        token: `SILL_TOKEN`, then the root token in the home, when empty.
        project: the project calls are about, `SILL_PROJECT` or `default` when empty.
        http: an httpx client to send with, such as one onto an app in this process.
        inference_url: where the inference plane is; `SILL_INFERENCE_URL`, then the settings, when empty.
        is_patient: go on trying for some seconds when nobody answers the first call; later calls always do.
    Raises:
        InvalidValue: the address or the project's name is none.
        Unauthenticated: there is no token.
    """

    def __init__(
        self,
        url: str = "",
        token: str = "",
        project: str = "",
        http: httpx.Client | None = None,
        inference_url: str = "",
        is_patient: bool = True,
    ) -> None:
        settings = read_settings()
        self.url = (url or os.environ.get("SILL_URL", "") or settings.url).rstrip("/")
        self.inference_url = inference_url or os.environ.get("SILL_INFERENCE_URL", "") or settings.inference_url
        for address in (self.url, self.inference_url):
            _check_address(address)
        self.project = check_name(project or os.environ.get("SILL_PROJECT", "") or "default", "project")
        self._token = token or os.environ.get("SILL_TOKEN", "") or _root_token(settings.home / "token")
        self._http = http or open_http(self.url, TIMEOUT_S)
        self._is_patient = is_patient

    @property
    def authorization(self) -> dict[str, str]:
        """The header that says who asks."""
        return {"Authorization": f"Bearer {self._token}"}

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        returns: type[T] | Any,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        content_type: str = "application/json",
        key: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> T:
        """One call of the API; `path` is behind `/api/v1`, `{project}` in it is filled in.

        A call that changes something carries an idempotency key (a fresh one if none is given), so that it is sent again
        safely when the connection breaks.

        Raises:
            SillError: the server's error, as its class.
            Unavailable: it could not be reached.
        """
        sent = msgspec.json.encode(body) if body is not None else content
        headers = {"Idempotency-Key": key or uuid.uuid4().hex} if method in ("POST", "PUT", "DELETE", "PATCH") else {}
        if sent is not None:
            headers["Content-Type"] = content_type
        answer = self._send(method, path, query, sent, headers, timeout_s)
        if returns is bytes:
            return answer.content  # type: ignore[return-value]
        if returns is None:
            return None  # type: ignore[return-value]
        return msgspec.json.decode(answer.content, type=returns)

    @contextmanager
    def stream(self, method: str, path: str, *, query: Mapping[str, Any] | None = None) -> Iterator[httpx.Response]:
        """One call whose answer is read in pieces."""
        request = self._request(method, path, query, None, {}, None)
        try:
            answer = self._http.send(request, stream=True)
        except httpx.TransportError as broken:
            raise self._unreachable() from broken
        try:
            if answer.is_error:
                answer.read()
            raise_for_error(answer)
            yield answer
        except httpx.TransportError as broken:
            raise Unavailable(f"the connection to {self.url} broke.", fix="Try again.") from broken
        finally:
            answer.close()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        sent: bytes | Iterable[bytes] | None,
        headers: dict[str, str],
        timeout_s: float,
    ) -> httpx.Response:
        can_repeat = sent is None or isinstance(sent, bytes)
        for tried in range(1, TRIES_MAX + 1):
            try:
                answer = self._http.send(self._request(method, path, query, sent, headers, timeout_s))
                self._is_patient = True
                break
            except httpx.TransportError as broken:
                if tried == TRIES_MAX or not can_repeat or not self._is_patient:
                    raise self._unreachable() from broken
                time.sleep(RETRY_S * 2**tried)
        raise_for_error(answer)
        return answer

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        sent: bytes | Iterable[bytes] | None,
        headers: dict[str, str],
        timeout_s: float | None,
    ) -> httpx.Request:
        _check_path(path)
        given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        return self._http.build_request(
            method,
            f"{self.url}/api/v1{path.replace('{project}', self.project)}",
            params=given or None,
            content=sent,
            headers={**self.authorization, **headers},
            timeout=timeout_s,
        )

    def _unreachable(self) -> Unavailable:
        return Unavailable(
            f"no Sill answers at {self.url}.",
            fix="Start it with `sill up`, or set SILL_PORT or SILL_URL to where it is.",
        )


def open_http(url: str, timeout_s: float) -> httpx.Client:
    """An httpx client for one server, which no proxy of the environment comes between.

    For a plain http address the machine's certificates are not loaded, which takes longer than a call; nothing would be
    trusted by them.
    """
    verify = True if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.Client(timeout=timeout_s, trust_env=False, verify=verify)


def raise_for_error(answer: httpx.Response) -> None:
    """Raise the error an answer carries, as its class.

    Raises:
        SillError: the answer's status is 400 or above.
    """
    if not answer.is_error:
        return
    try:
        problem = msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.DecodeError:
        problem = {"message": f"the server answered {answer.status_code}: {answer.text[:200]!r}."}
    kind = every_error().get(problem.get("code", ""), SillError)
    details = problem.get("details", {})
    raise kind(
        problem.get("message", "unknown error"), fix=problem.get("fix", ""), field=problem.get("field", ""), **details
    )


def _check_address(url: str) -> None:
    """Refuse what cannot be the address of a server."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as wrong:
        raise InvalidValue(f"{shorten(url)!r} is not an address: {wrong}.", fix="Give http://HOST:PORT.") from wrong
    if parts.scheme not in ("http", "https") or not parts.host:
        raise InvalidValue(
            f"{shorten(url)!r} is not an address of a server.", fix="Give http://HOST:PORT or https://NAME (SILL_URL)."
        )


def _check_path(path: str) -> None:
    """Refuse a path whose parts would lead elsewhere: a name with `..`, `?` or `#` in it, or an empty one.

    Raises:
        InvalidValue: there is one.
    """
    wrong = [
        part
        for part in path.split("/")[1:]
        if part in ("", ".", "..") or not part.isprintable() or set(part) & set("?#\\")
    ]
    if wrong:
        raise InvalidValue(
            f"{shorten(wrong[0])!r} is not a name: lower-case letters, digits and . _ - are allowed.",
            fix="Choose a name that is there.",
        )


def _root_token(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError as missing:
        raise Unauthenticated(
            f"there is no token: {path} does not exist.", fix="Start Sill with `sill up`, or set SILL_TOKEN."
        ) from missing


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
