"""Finds and fetches objects of S3, Google Cloud Storage and Azure: one key, a prefix, or a glob."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from sill.core.errors import Forbidden, InvalidValue, NotFound, Unavailable
from sill.core.names import shorten
from sill.safety.outbound import Outbound
from sill.sources.failures import too_large, unreadable
from sill.sources.limits import ReadLimits
from sill.sources.parts import Part

SCHEMES = ("s3", "gs", "az")
KEYS = {"s3": "ACCESS_KEY_ID:SECRET_ACCESS_KEY", "gs": "the JSON of a service account", "az": "ACCOUNT:KEY"}
CHUNK_BYTES = 8 * 1024**2
RETRIES_MAX = 4
RETRY_S = 30
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,62}")
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "gs": (),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_WILD = re.compile(r"[*?\[]")


def fetch_objects(
    url: str,
    secret: str,
    workspace: Path,
    limits: ReadLimits,
    outbound: Outbound,
    environ: Mapping[str, str],
    own_url: str = "",
) -> list[Part]:
    """Copies of the objects the URL means, in the order of their keys.

    Args:
        url: `s3://bucket/key`, a prefix ending in `/`, or a glob (`*` within a folder, `**` across folders).
        secret: credentials as `KEYS` says; empty takes those of the environment, and none means public objects.
        own_url: where the platform keeps its own blobs, which no tenant reads by address.
    Raises:
        InvalidValue: a malformed address or secret.
        Forbidden: the platform's own bucket, or an endpoint that may not be called.
        NotFound: nothing is there.
        TooLarge: too many objects, or too many bytes together.
        Unavailable: the store does not answer, or sent less than it promised.
    """
    scheme, bucket, key = split_url(url)
    _refuse_own(scheme, bucket, key, own_url)
    store = _open_store(scheme, bucket, secret, outbound, environ, limits)
    found = list(_find(store, url, key, limits))
    if not found:
        raise NotFound(f"nothing is at {shorten(url, 200)}.", fix="Correct the key, prefix or glob.")
    if sum(size for _, size in found) > limits.source_bytes_max:
        got = f"its objects are {sum(size for _, size in found):,} bytes"
        raise too_large(url, "source_bytes_max", got, limits.source_bytes_max)
    base = _base(key)
    parts = []
    for number, (path, size) in enumerate(found):
        target = workspace / f"object-{number:06d}"
        name = f"{scheme}://{bucket}/{path}"
        _fetch(store, path, size, target, name)
        parts.append(Part(name, path.removeprefix(base), target))
    return parts


def split_url(url: str) -> tuple[str, str, str]:
    """(scheme, bucket, key or pattern).

    Raises:
        InvalidValue: another scheme, a bucket name that is none, user information, `..` in the key.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme not in SCHEMES or not _BUCKET.fullmatch(bucket) or ".." in key.split("/") or len(key) > 1_024:
        raise InvalidValue(
            f"{shorten(url, 200)!r} is not an object address; s3://bucket/key, gs://bucket/key or az://container/key is.",
            field="url",
        )
    return scheme, bucket, key


def to_pattern(glob: str) -> "re.Pattern[str]":
    """`*` and `?` stay within a folder, `**/` is any number of folders, `[abc]` one of them."""
    out, at = "", 0
    while at < len(glob):
        if glob.startswith("**/", at):
            out, at = out + "(?:.*/)?", at + 3
        elif glob.startswith("**", at):
            out, at = out + ".*", at + 2
        elif glob[at] == "*":
            out, at = out + "[^/]*", at + 1
        elif glob[at] == "?":
            out, at = out + "[^/]", at + 1
        elif glob[at] == "[" and "]" in glob[at + 2 :]:
            end = glob.index("]", at + 2)
            inside = re.escape(glob[at + 1 : end]).replace(r"\-", "-")
            out, at = out + f"[{'^' + inside[1:] if inside.startswith('!') else inside}]", end + 1
        else:
            out, at = out + re.escape(glob[at]), at + 1
    return re.compile(out)


def _refuse_own(scheme: str, bucket: str, key: str, own_url: str) -> None:
    if not own_url:
        return
    own_scheme, _, rest = own_url.partition("://")
    own_bucket = rest.partition("/")[0]
    if (own_scheme.removesuffix("a"), own_bucket) == (scheme, bucket):
        raise Forbidden(
            f"bucket {bucket!r} holds the platform's own data; it is not a source.",
            fix="Read tables by name, or copy the objects to another bucket.",
        )


def _open_store(
    scheme: str, bucket: str, secret: str, outbound: Outbound, environ: Mapping[str, str], limits: ReadLimits
) -> Any:
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore, S3Store

    endpoint = next((environ[name] for name in _ENDPOINTS[scheme] if environ.get(name)), "")
    if endpoint:
        outbound.check(endpoint)
    shared: dict[str, Any] = {
        "client_options": {"timeout": f"{int(limits.seconds_max)}s", "allow_http": endpoint.startswith("http://")},
        "retry_config": {"max_retries": RETRIES_MAX, "retry_timeout": timedelta(seconds=RETRY_S)},
    }
    config = _credentials(scheme, secret, environ)
    try:
        if scheme == "s3":
            return S3Store(bucket, config=config | ({"endpoint": endpoint} if endpoint else {}), **shared)
        if scheme == "gs":
            return GCSStore(bucket, config=config, **shared)
        return AzureStore(bucket, config=config | ({"endpoint": endpoint} if endpoint else {}), **shared)
    except (BaseError, ValueError) as wrong:
        what = f"the credentials cannot be used; a secret for {scheme}:// is {KEYS[scheme]}."
        raise InvalidValue(what, field="secret") from wrong


def _credentials(scheme: str, secret: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The store's own settings. Never the machine's identity service: a tenant is not the machine."""
    if scheme == "s3":
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        if secret:
            key, _, rest = secret.strip().partition(":")
            private, _, session = rest.partition(":")
            if not key or not private:
                raise InvalidValue(f"a secret for s3:// is {KEYS['s3']}.", field="secret")
            given = {"access_key_id": key, "secret_access_key": private, "region": region}
            return given | ({"session_token": session} if session else {})
        if environ.get("AWS_ACCESS_KEY_ID"):
            given = {"access_key_id": environ["AWS_ACCESS_KEY_ID"], "region": region}
            given["secret_access_key"] = environ.get("AWS_SECRET_ACCESS_KEY", "")
            token = environ.get("AWS_SESSION_TOKEN", "")
            return given | ({"session_token": token} if token else {})
        return {"skip_signature": True, "region": region}
    if scheme == "gs":
        if secret:
            return {"service_account_key": secret}
        path = environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
        return {"application_credentials": path} if path else {"skip_signature": True}
    account, _, key = (
        secret.strip().partition(":")
        if secret
        else (environ.get("AZURE_STORAGE_ACCOUNT_NAME", ""), "", environ.get("AZURE_STORAGE_ACCOUNT_KEY", ""))
    )
    if secret and not key:
        raise InvalidValue(f"a secret for az:// is {KEYS['az']}.", field="secret")
    return {"account_name": account} | ({"account_key": key} if key else {"skip_signature": True})


def _base(key: str) -> str:
    """The folder that all found objects share, with its `/`: what the inner path starts behind."""
    wild = _WILD.search(key)
    fixed = key[: wild.start()] if wild else key
    return fixed[: fixed.rfind("/") + 1]


def _find(store: Any, url: str, key: str, limits: ReadLimits) -> Iterator[tuple[str, int]]:
    """(key, size) of each object, sorted by key."""
    import obstore

    if key and not key.endswith("/") and not _WILD.search(key):
        with _told(url):
            facts = obstore.head(store, key)
        yield facts["path"], facts["size"]
        return
    pattern = to_pattern(key) if _WILD.search(key) else None
    found: list[tuple[str, int]] = []
    with _told(url):
        for page in obstore.list(store, prefix=_base(key).rstrip("/") or None):
            for one in page:
                if one["size"] and (pattern is None or pattern.fullmatch(one["path"])):
                    found.append((one["path"], one["size"]))
                if len(found) > limits.parts_max:
                    got = f"it means more than {limits.parts_max:,} objects"
                    raise too_large(url, "parts_max", got, limits.parts_max)
    yield from sorted(found)


def _fetch(store: Any, path: str, size: int, target: Path, name: str) -> None:
    import obstore

    received = 0
    with _told(name), target.open("wb") as file:
        for chunk in obstore.get(store, path).stream(min_chunk_size=CHUNK_BYTES):
            received += len(chunk)
            if received > size:
                break
            file.write(chunk)
    if received != size:
        raise Unavailable(f"{name} sent {received:,} bytes or more where {size:,} were promised.", fix="Try again.")


class _told:
    """Turns the object store's errors into ours."""

    def __init__(self, name: str) -> None:
        self._name = shorten(name, 200)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, wrong: BaseException | None, _trace: Any) -> None:
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        if isinstance(wrong, FileNotFoundError):
            raise NotFound(f"nothing is at {self._name}.", fix="Correct the bucket or key.") from wrong
        if isinstance(wrong, PermissionDeniedError | UnauthenticatedError):
            fix = "Give a secret that may read it, or let an operator set credentials in the environment."
            raise unreadable(self._name, "the object store refused access.", fix) from wrong
        if isinstance(wrong, BaseError):
            what = f"{self._name} cannot be read from the object store ({type(wrong).__name__})."
            raise Unavailable(what, fix="Check endpoint, region and credentials, then try again.") from wrong
