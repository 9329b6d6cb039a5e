"""MLflow's error form, `{"error_code", "message"}`: its codes, their statuses, and which of our errors is which."""

import msgspec

from sill.core.errors import (
    Conflict,
    Forbidden,
    HeadersTooLarge,
    InvalidValue,
    Limited,
    MethodNotAllowed,
    NotFound,
    RangeInvalid,
    Refused,
    SillError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedType,
)
from sill.protocols.mlflow.wire import as_json

INVALID_PARAMETER_VALUE = "INVALID_PARAMETER_VALUE"
INVALID_STATE = "INVALID_STATE"
RESOURCE_DOES_NOT_EXIST = "RESOURCE_DOES_NOT_EXIST"
RESOURCE_ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"
RESOURCE_CONFLICT = "RESOURCE_CONFLICT"
PERMISSION_DENIED = "PERMISSION_DENIED"
UNAUTHENTICATED = "UNAUTHENTICATED"
ENDPOINT_NOT_FOUND = "ENDPOINT_NOT_FOUND"
FEATURE_DISABLED = "FEATURE_DISABLED"
NOT_IMPLEMENTED = "NOT_IMPLEMENTED"
BAD_REQUEST = "BAD_REQUEST"
REQUEST_LIMIT_EXCEEDED = "REQUEST_LIMIT_EXCEEDED"
TEMPORARILY_UNAVAILABLE = "TEMPORARILY_UNAVAILABLE"
INTERNAL_ERROR = "INTERNAL_ERROR"

SEE_DOCS = " See the API docs for more information about request parameters."
"""MLflow ends what its request schemas refuse with this."""
CODE = "error_code"
"""The name of the detail by which one of our errors says its MLflow code."""

_STATUS = {RESOURCE_ALREADY_EXISTS: 400, INVALID_PARAMETER_VALUE: 400, INVALID_STATE: 400, BAD_REQUEST: 400}
"""Statuses that differ from ours. INVALID_STATE is 500 at MLflow; its clients repeat a 500 for minutes, so it is 400."""
_CODES: tuple[tuple[type[SillError], str], ...] = (
    (Unauthenticated, UNAUTHENTICATED),
    (Forbidden, PERMISSION_DENIED),
    (NotFound, RESOURCE_DOES_NOT_EXIST),
    (MethodNotAllowed, ENDPOINT_NOT_FOUND),
    (Conflict, INVALID_PARAMETER_VALUE),
    (InvalidValue, INVALID_PARAMETER_VALUE),
    (UnsupportedType, INVALID_PARAMETER_VALUE),
    (Refused, INVALID_PARAMETER_VALUE),
    (TooLarge, BAD_REQUEST),
    (HeadersTooLarge, BAD_REQUEST),
    (RangeInvalid, BAD_REQUEST),
    (Limited, REQUEST_LIMIT_EXCEEDED),
    (Unavailable, TEMPORARILY_UNAVAILABLE),
)
_KINDS: dict[str, type[SillError]] = {
    INVALID_PARAMETER_VALUE: InvalidValue,
    BAD_REQUEST: InvalidValue,
    INVALID_STATE: Conflict,
    RESOURCE_ALREADY_EXISTS: Conflict,
    RESOURCE_CONFLICT: Conflict,
    RESOURCE_DOES_NOT_EXIST: NotFound,
    ENDPOINT_NOT_FOUND: NotFound,
    PERMISSION_DENIED: Forbidden,
    FEATURE_DISABLED: InvalidValue,
}
_SHOWN_MAX = 1_000


def refusal(code: str, message: str) -> SillError:
    """One of our errors that this door answers with the given code and exactly this text."""
    return _KINDS[code](message, **{CODE: code})


def invalid(message: str) -> SillError:
    """INVALID_PARAMETER_VALUE with this text."""
    return refusal(INVALID_PARAMETER_VALUE, message)


def missing_value(field: str) -> SillError:
    """A required parameter was not given, or is empty."""
    return invalid(f"Missing value for required parameter '{field}'.{SEE_DOCS}")


def invalid_value(field: str, value: object, hint: str = "") -> SillError:
    """A parameter is not what it should be; `hint` is MLflow's own, where its schema gives one."""
    told = hint or f"Hint: Value was of type '{type(value).__name__}'."
    return invalid(f"Invalid value {shown(value)} for parameter '{field}' supplied:  {told}{SEE_DOCS}")


def shown(value: object) -> str:
    """The value as JSON, cut to a thousand characters."""
    text = as_json(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


def answer(error: SillError, request_id: str) -> tuple[int, bytes]:
    """Status and body for any error of ours. One from inside tells its request id and nothing else."""
    if type(error) is SillError:
        text = f"something went wrong inside. Look for {request_id} in the server's log, or report it."
        return 500, _body(INTERNAL_ERROR, text)
    code = str(error.details.get(CODE, "")) or code_of(error)
    status = _STATUS.get(code, 409 if code == RESOURCE_CONFLICT else error.status)
    return status, _body(code, str(error))


def code_of(error: SillError) -> str:
    """The MLflow code of one of our errors that names none itself."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), INTERNAL_ERROR)


def _body(code: str, message: str) -> bytes:
    return msgspec.json.encode({"error_code": code, "message": message})
