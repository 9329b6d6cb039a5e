"""Answers of the gateway itself when a request goes no further, in the protocol's form, and how a replica's are known."""

from sill.core.errors import Limited, SillError, Unavailable
from sill.protocols.oip.errors import error_body
from sill.safety.gate import problem_body

AGAIN_FIELD = b"\r\nretry-after:"


def refusal(line: bytes, error: SillError) -> bytes:
    """A whole answer.

    Args:
        line: status and reason.
    """
    body = error_body(problem_body(error, ""))
    return (
        b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
        b"x-content-type-options: nosniff\r\ncache-control: no-store\r\ncontent-length: %d\r\n\r\n%s"
        % (line, len(body), body)
    )


def unanswered(why: str) -> bytes:
    """The answer when no replica gave one."""
    return refusal(b"503 Service Unavailable", Unavailable(why, fix="Try again in a second."))


def is_refusal(status: int, answer: bytes) -> bool:
    """True for an answer that says there is too much to do for now."""
    return status in (429, 503) and AGAIN_FIELD in answer[: answer.find(b"\r\n\r\n") + 2].lower()


TOO_MANY = refusal(b"429 Too Many Requests", Limited("too many requests at once.", fix="Try again in a second."))
TOO_LATE = refusal(
    b"503 Service Unavailable",
    Unavailable(
        "as many requests like this one wait already as can be answered in time.",
        fix="Try again in a second, send fewer at once, or allow more time.",
    ),
)
