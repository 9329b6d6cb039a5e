"""Every error Sill raises on purpose. A code never changes once released; clients may match on it.

SillError                  internal            500
├── InvalidValue           invalid_value       400   a value is outside what is allowed
├── Unauthenticated        unauthenticated     401   no token, or one that is not known
├── Forbidden              forbidden           403   the actor may not do this
├── NotFound               not_found           404   absent, or another tenant's (the answer is the same)
├── MethodNotAllowed       method_not_allowed  405   the path exists, the verb does not
├── Conflict               conflict            409   the thing changed, or already exists
├── TooLarge               too_large           413   a size limit was passed
├── UnsupportedType        unsupported_type    415   a content type, coding or file format that is not listed
├── RangeInvalid           range_invalid       416   a byte range that cannot be satisfied
├── Refused                refused             422   understood, and refused by a rule (quality gate, model gate, quota)
│   └── PluginMissing      plugin_missing      422   an optional library is not installed
├── Limited                limited             429   too many at once; try again after `retry_after_s`
├── HeadersTooLarge        headers_too_large   431   header count or size limit was passed
├── Damaged                damaged             500   stored bytes do not match their digest
└── Unavailable            unavailable         503   a part is down or starting
"""

from typing import Any


class SillError(Exception):
    """What went wrong (with the value), what is allowed, and what to do now.

    Args:
        message: what went wrong, with the value, and what is allowed. One or two sentences.
        fix: what to do now; shown after the message. May be empty when the message already says it.
        field: the input field the error is about, as a dotted path, if any.
        details: machine-readable facts (limits, ids, current revision); they must hold no secret.
    """

    code = "internal"
    status = 500

    def __init__(self, message: str, *, fix: str = "", field: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.field = field
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".strip()

    def for_terminal(self) -> str:
        """Code and message, and the remedy on a line of its own."""
        return f"{self.code}: {self.message}" + (f"\n  → {self.fix}" if self.fix else "")

    def to_dict(self) -> dict[str, Any]:
        """The wire form, the same at every door of ours (RFC 9457 problem, with our code and fix)."""
        problem: dict[str, Any] = {"code": self.code, "status": self.status, "message": self.message, "fix": self.fix}
        if self.field:
            problem["field"] = self.field
        if self.details:
            problem["details"] = self.details
        return problem


class InvalidValue(SillError):
    """A value is outside what is allowed."""

    code = "invalid_value"
    status = 400


class Unauthenticated(SillError):
    """No token, or one that is not known, expired or revoked."""

    code = "unauthenticated"
    status = 401


class Forbidden(SillError):
    """The actor is known and may not do this."""

    code = "forbidden"
    status = 403


class NotFound(SillError):
    """Absent, or owned by another tenant: the answer is the same."""

    code = "not_found"
    status = 404


class MethodNotAllowed(SillError):
    """The path exists, the verb does not."""

    code = "method_not_allowed"
    status = 405


class Conflict(SillError):
    """The thing changed since it was read, exists already, or the idempotency key was used for something else."""

    code = "conflict"
    status = 409


class TooLarge(SillError):
    """A size limit was passed."""

    code = "too_large"
    status = 413


class UnsupportedType(SillError):
    """A content type, coding or file format that is not on the list."""

    code = "unsupported_type"
    status = 415


class RangeInvalid(SillError):
    """A byte range that cannot be satisfied."""

    code = "range_invalid"
    status = 416


class Refused(SillError):
    """Understood, and refused by a rule: a quality gate, a model gate, a quota."""

    code = "refused"
    status = 422


class PluginMissing(Refused):
    """An optional library is not installed."""

    code = "plugin_missing"


class Limited(SillError):
    """Too many requests or too much at once."""

    code = "limited"
    status = 429


class HeadersTooLarge(SillError):
    """Header count or size limit was passed."""

    code = "headers_too_large"
    status = 431


class Damaged(SillError):
    """Stored bytes do not match their digest. The message names the object."""

    code = "damaged"
    status = 500


class Unavailable(SillError):
    """A part is down or starting."""

    code = "unavailable"
    status = 503


def every_error() -> dict[str, type[SillError]]:
    """All error classes by code; the SDK turns a wire error back into its class with it."""

    def tree(kind: type[SillError]) -> list[type[SillError]]:
        return [kind, *(found for child in kind.__subclasses__() for found in tree(child))]

    # Parents last: a subclass without a code of its own crosses as its parent.
    return {kind.code: kind for kind in reversed(tree(SillError))}
