"""Queues of the platform, from Python: quotas, budgets, bookings, and how all stands."""

from urllib.parse import quote

from sill.queues.types import BookingSpec, QueueSpec
from sill.runs.types import Waiting
from sill.scheduler.simulation.types import ShadowReport, WhatIf, WhatIfReport
from sill.scheduler.types import Standing
from sill.sdk.client import Client


class Queues:
    """Calls about queues. They belong to the platform, not to the client's project."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> tuple[QueueSpec, ...]:
        """Queues with their quotas and budgets."""
        return self._client.call("GET", "/queues", tuple[QueueSpec, ...])

    def get(self, name: str) -> QueueSpec:
        """One queue."""
        return self._client.call("GET", _path("queues", name), QueueSpec)

    def put(self, queue: QueueSpec) -> QueueSpec:
        """Create a queue (`revision` 0), or change one as it stood at `revision`."""
        return self._client.call("PUT", _path("queues", queue.name), QueueSpec, body=queue)

    def delete(self, name: str) -> None:
        """Forget a queue; runs in it go on."""
        self._client.call("DELETE", _path("queues", name), None)

    def bookings(self) -> tuple[BookingSpec, ...]:
        """Reservations and maintenance."""
        return self._client.call("GET", "/bookings", tuple[BookingSpec, ...])

    def book(self, booking: BookingSpec) -> BookingSpec:
        """Reserve something for a queue, or plan maintenance of a node."""
        return self._client.call("PUT", _path("bookings", booking.name), BookingSpec, body=booking)

    def cancel_booking(self, name: str) -> None:
        """Forget a reservation or maintenance."""
        self._client.call("DELETE", _path("bookings", name), None)

    def standing(self) -> Standing:
        """How the cluster and its queues stand."""
        return self._client.call("GET", "/scheduler", Standing)

    def waiting(self) -> tuple[Waiting, ...]:
        """The runs that have waited longest, and why each waits."""
        return self._client.call("GET", "/scheduler/waiting", tuple[Waiting, ...])

    def what_if(self, asked: WhatIf) -> WhatIfReport:
        """What waits, cost and carbon would be with more machines or another policy; nothing is changed."""
        return self._client.call("POST", "/scheduler/whatif", WhatIfReport, body=asked)

    def shadow(self) -> ShadowReport:
        """What the shadow policy would have done where the other decided."""
        return self._client.call("GET", "/scheduler/shadow", ShadowReport)


def _path(kind: str, name: str) -> str:
    return f"/{kind}/{quote(name, safe='')}"
