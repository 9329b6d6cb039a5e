"""What a gRPC call ends with. Source: grpc/grpc, doc/statuscodes.md and doc/PROTOCOL-HTTP2.md."""

from enum import IntEnum

from sill.core.errors import SillError

MESSAGE_LENGTH_MAX = 1_000


class Status(IntEnum):
    """The status codes, by their numbers on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


BY_CODE = {
    "invalid_value": Status.INVALID_ARGUMENT,
    "unauthenticated": Status.UNAUTHENTICATED,
    "forbidden": Status.PERMISSION_DENIED,
    "not_found": Status.NOT_FOUND,
    "method_not_allowed": Status.UNIMPLEMENTED,
    "conflict": Status.ABORTED,
    "too_large": Status.RESOURCE_EXHAUSTED,
    "unsupported_type": Status.INVALID_ARGUMENT,
    "range_invalid": Status.OUT_OF_RANGE,
    "refused": Status.FAILED_PRECONDITION,
    "plugin_missing": Status.FAILED_PRECONDITION,
    "limited": Status.RESOURCE_EXHAUSTED,
    "headers_too_large": Status.RESOURCE_EXHAUSTED,
    "damaged": Status.DATA_LOSS,
    "unavailable": Status.UNAVAILABLE,
}
"""The status for each of our error codes; INTERNAL for others."""


class CallError(Exception):
    """The call ends with this status."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def call_error(error: SillError) -> CallError:
    """The status of one of our errors; our stable code leads the text, so that a client may match on it."""
    status = BY_CODE.get(error.code, Status.INTERNAL)
    if status is Status.INTERNAL:
        return CallError(status, "internal: something went wrong inside.")
    return CallError(status, f"{error.code}: {error}")


def percent_encoded(message: str) -> bytes:
    """A message as the trailer grpc-message has it: printable ASCII, the rest and `%` as `%XX`; cut to a length."""
    content = message[:MESSAGE_LENGTH_MAX].encode(errors="replace")
    return b"".join(bytes((b,)) if 0x20 <= b <= 0x7E and b != 0x25 else b"%%%02X" % b for b in content)
