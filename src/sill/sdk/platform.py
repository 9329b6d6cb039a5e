"""The platform as a whole, from Python: overview, doctor, login link, backup."""

import os
from collections.abc import Callable
from pathlib import Path

from sill.api.types import Finding, LoginLink, Overview
from sill.core.errors import Conflict, InvalidValue
from sill.sdk.client import Client

COPY_BYTES = 1024 * 1024


class Platform:
    """Calls about the platform as a whole."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def overview(self) -> Overview:
        """The loop of the project at one look."""
        return self._client.call("GET", "/projects/{project}/overview", Overview)

    def doctor(self) -> tuple[Finding, ...]:
        """What is well and what is not."""
        return self._client.call("GET", "/doctor", tuple[Finding, ...])

    def login_link(self) -> LoginLink:
        """A one-use link that logs a browser in as this client's token."""
        return self._client.call("POST", "/login-links", LoginLink)

    def backup(self, path: Path, on_bytes: Callable[[int], None] = lambda _count: None) -> int:
        """Write a backup into a new file, readable by its owner only; returns its size in bytes.

        Args:
            on_bytes: told how many bytes have been written so far.
        Raises:
            Conflict: the file exists.
            InvalidValue: it cannot be written there.
        """
        if path.exists():
            raise Conflict(f"{path} exists already.", fix="Choose another name.")
        part = path.with_name(f"{path.name}.part")
        written = 0
        with self._client.stream("GET", "/backup") as answer:
            try:
                with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                    for chunk in answer.iter_bytes(COPY_BYTES):
                        file.write(chunk)
                        written += len(chunk)
                        on_bytes(written)
                part.rename(path)
            except OSError as wrong:
                raise InvalidValue(
                    f"{path} cannot be written: {wrong.strerror}.", fix="Choose another place."
                ) from wrong
            finally:
                part.unlink(missing_ok=True)
        return written
