"""Keeps secrets and line breaks out of logs. Which secrets are live is told by whoever unseals them."""

import base64
import json
import logging
import re
import threading
from urllib.parse import quote

SECRET_LENGTH_MIN = 6
SECRETS_MAX = 10_000
RECORD_BYTES_MAX = 8_192
HIDDEN = "[redacted]"


class Redactor:
    """Replaces live secrets, and whatever looks like a credential, by `[redacted]`. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: dict[str, frozenset[str]] = {}
        self._pattern: re.Pattern[str] | None = None

    def add(self, secret: str) -> None:
        """From now on hides the secret, also as JSON, URL-quoted and base64. Shorter than 6 characters is ignored:
        it would hide half of every text. The oldest is forgotten beyond 10,000."""
        if len(secret) < SECRET_LENGTH_MIN:
            return
        with self._lock:
            self._forms[secret] = _forms(secret)
            while len(self._forms) > SECRETS_MAX:
                del self._forms[next(iter(self._forms))]
            self._compile()

    def forget(self, secret: str) -> None:
        """No longer hides the secret; it was deleted or replaced."""
        with self._lock:
            self._forms.pop(secret, None)
            self._compile()

    def redact(self, text: str) -> str:
        """The text without live secrets, bearer tokens, our own tokens and passwords in URLs."""
        pattern = self._pattern
        if pattern is not None:
            text = pattern.sub(HIDDEN, text)
        for known, replacement in _CREDENTIALS:
            text = known.sub(replacement, text)
        return text

    def _compile(self) -> None:
        # Longest first, so that a secret that contains another is hidden whole.
        forms = sorted({form for forms in self._forms.values() for form in forms}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, forms))) if forms else None


class RedactingFilter(logging.Filter):
    """Makes every record one redacted line of at most 8 kB, the exception with it. Put it on handlers."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrites the record in place and keeps it."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit must not lose the line
            text = f"{record.msg} {record.args!r}"
        if record.exc_info:
            text = f"{text}\n{_FORMATTER.formatException(record.exc_info)}"
        elif record.exc_text:
            text = f"{text}\n{record.exc_text}"
        if record.stack_info:
            text = f"{text}\n{record.stack_info}"
        record.msg = one_line(self._redactor.redact(text))
        record.args, record.exc_info, record.exc_text, record.stack_info = None, None, None, None
        return True


def one_line(text: str, bytes_max: int = RECORD_BYTES_MAX) -> str:
    """The text with control, ANSI and direction characters escaped, cut to `bytes_max` bytes of UTF-8."""
    # Cut before escaping too: a megabyte need not be escaped to be thrown away.
    escaped = _UNSAFE.sub(_escape, text[:bytes_max])
    raw = escaped.encode("utf-8", "backslashreplace")
    if len(raw) <= bytes_max and len(text) <= bytes_max:
        return raw.decode()
    return raw[: bytes_max - 3].decode("utf-8", "ignore") + "…"


_FORMATTER = logging.Formatter()
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_CREDENTIALS = [
    (
        re.compile(r"(?i)\b((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic|token)\s+)[^\s\"',;]+"),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b((?:set-)?cookie[\"']?\s*[:=]\s*[\"']?)[^\r\n\"']+"), rf"\1{HIDDEN}"),
    (re.compile(r"\bsill_[A-Za-z0-9_-]{43}"), HIDDEN),
    (re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s/:@]{0,200}:)[^\s/@]{1,500}@"), rf"\1{HIDDEN}@"),
    (re.compile(r"(?i)([?&](?:token|key|secret|password|signature|x-amz-signature)=)[^\s&#\"']+"), rf"\1{HIDDEN}"),
]


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")


def _forms(secret: str) -> frozenset[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    forms = {secret, json.dumps(secret)[1:-1], quote(raw, safe=""), repr(secret)[1:-1]}
    forms.add(base64.b64encode(raw).decode().rstrip("="))
    forms.add(base64.urlsafe_b64encode(raw).decode().rstrip("="))
    return frozenset(forms)
