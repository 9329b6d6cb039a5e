"""Logs: one line a record, no secret in it."""

import base64
import io
import json
import logging
from urllib.parse import quote

import pytest

from sill.safety.redaction import RedactingFilter, Redactor

TOKEN = "sill_" + "Ye-8_Mn9s2" * 4 + "x7K"  # as tokens.new_token makes them
SECRET = 'ca/na"ry ß+1'


@pytest.fixture
def redactor() -> Redactor:
    redactor = Redactor()
    redactor.add(SECRET)
    return redactor


@pytest.fixture
def log(redactor: Redactor) -> tuple[logging.Logger, io.StringIO]:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(RedactingFilter(redactor))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, out


@pytest.mark.parametrize(
    "form",
    [SECRET, json.dumps(SECRET), quote(SECRET, safe=""), base64.b64encode(SECRET.encode()).decode(), repr(SECRET)],
)
def test_secret_is_hidden_in_every_form(redactor: Redactor, form: str) -> None:
    assert form.strip("=\"'") not in redactor.redact(f"before {form} after")


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdefgh12345",
        "authorization=Basic dXNlcjpodW50ZXIy",
        "{'Authorization': 'Bearer hunter2hunter2'}",
        "postgresql://user:hunter2@db/name",
        "https://example.com/?token=hunter2&x=1",
        "Cookie: session=hunter2; b=2",
        f"token is {TOKEN}",
    ],
)
def test_what_looks_like_a_credential_is_hidden(text: str) -> None:
    redacted = Redactor().redact(text)
    assert "[redacted]" in redacted
    for canary in ("hunter2", "abcdefgh12345", "dXNlcjpodW50ZXIy", text[-20:]):
        assert canary not in redacted or (canary == text[-20:] and "x=1" in text)


def test_plain_text_stays() -> None:
    text = "run run-01jd finished: https://example.com/a?b=c, 12:30, user@example.com"
    assert Redactor().redact(text) == text


def test_forgotten_and_short_secrets_are_not_hidden(redactor: Redactor) -> None:
    redactor.forget(SECRET)
    redactor.add("abc")
    assert redactor.redact(f"abc {SECRET}") == f"abc {SECRET}"


def test_record_is_one_line_without_control_characters(log: tuple[logging.Logger, io.StringIO]) -> None:
    log[0].warning("name %s", "a\r\nroot logged in\x1b[31m\u2028\u202e\x00\x9b")
    assert log[1].getvalue() == "name a\\r\\nroot logged in\\x1b[31m\\u2028\\u202e\\x00\\x9b\n"


def test_record_of_a_megabyte_is_cut(log: tuple[logging.Logger, io.StringIO]) -> None:
    log[0].warning("%s", "ä" * 1_000_000)
    assert len(log[1].getvalue().encode()) <= 8_193


def test_secret_in_arguments_and_exception_is_hidden(log: tuple[logging.Logger, io.StringIO]) -> None:
    try:
        raise ValueError(f"cannot use {SECRET}")
    except ValueError:
        log[0].exception("failed with %s", {"password": SECRET}, stack_info=True)
    assert SECRET not in log[1].getvalue()
    assert "ValueError" in log[1].getvalue()
    assert log[1].getvalue().count("\n") == 1


def test_arguments_that_do_not_fit_do_not_lose_the_line(log: tuple[logging.Logger, io.StringIO]) -> None:
    log[0].warning("%d %s", "x")
    assert "%d %s" in log[1].getvalue()
