"""What a source and an ingestion may be. Pure: nothing is fetched."""

import re
from urllib.parse import parse_qsl, urlsplit

from sill.core.errors import InvalidValue
from sill.core.names import check_column, check_name, shorten
from sill.governance.rules import check_secret_name
from sill.sources.databases import SCHEMES as DATABASE_SCHEMES
from sill.sources.databases import check_select, connection_settings
from sill.sources.fetching import SCHEMES, shown, split_upload
from sill.sources.objects import SCHEMES as OBJECT_SCHEMES
from sill.sources.objects import split_url
from sill.sources.times import check_zone
from sill.sources.types import IngestionSpec, Source

URL_LENGTH_MAX = 4_096
SOURCES_MAX = 1_000
EVERY_S_MIN = 10
FILE_NAME_LENGTH_MAX = 200
FUNCTION_LENGTH_MAX = 300
LENGTHS_MAX = {"query": 100_000, "sheet": 100, "delimiter": 1, "encoding": 40, "time_format": 100}
_PERIOD = re.compile(r"([1-9]\d{0,6})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_CRON_FIELD = re.compile(r"[0-9A-Za-z*/,\-?#]{1,100}")
_SECRET_OPTIONS = frozenset({"password", "sslpassword", "passfile", "sslkey"})


def check_source(source: Source) -> Source:
    """The source itself, if it may be read.

    Raises:
        InvalidValue: a scheme that is not listed, a password in the address, a zone, name or setting that is none.
    """
    scheme, separator, _ = source.url.partition("://")
    if not separator or scheme not in SCHEMES or len(source.url) > URL_LENGTH_MAX:
        raise InvalidValue(
            f"address {shorten(source.url)!r} is not read; {', '.join(f'{one}://' for one in SCHEMES)} are.",
            fix="Upload a local file first: the SDK does it for local paths.",
            field="url",
        )
    if scheme == "upload":
        split_upload(source.url)
    elif scheme in OBJECT_SCHEMES:
        split_url(source.url)
    elif scheme in DATABASE_SCHEMES:
        _check_database(source)
    if "{secret}" in source.url and not source.secret:
        raise InvalidValue("the address has {secret} in it, and `secret` names none.", field="secret")
    if source.secret:
        check_secret_name(source.secret)
    if source.decimal not in (".", ","):
        raise InvalidValue(f"decimal {shorten(source.decimal)!r} is not allowed; '.' and ',' are.", field="decimal")
    if source.time_format and not source.times:
        raise InvalidValue("time_format is given, and `times` names no column.", field="times")
    for field, length_max in LENGTHS_MAX.items():
        if len(getattr(source, field)) > length_max:
            raise InvalidValue(f"{field} is longer than {length_max:,} characters.", field=field)
    check_zone(source.time_zone)
    for name in source.rename.values():
        check_column(name, "rename")
    return source


def check_ingestion(spec: IngestionSpec) -> IngestionSpec:
    """The ingestion itself, if it can be declared.

    Raises:
        InvalidValue: a bad name or period, both sources and a function, neither, or a source that may not be read.
    """
    check_name(spec.project, "project")
    check_name(spec.name)
    check_name(spec.table, "table")
    if bool(spec.sources) == bool(spec.function):
        raise InvalidValue(
            f"ingestion {spec.name!r} has {'both sources and' if spec.sources else 'neither sources nor'} a function; "
            "one is needed.",
            fix="Give `sources`, or `function`.",
            field="sources",
        )
    if spec.function and not (
        len(spec.function) <= FUNCTION_LENGTH_MAX
        and all(part.isidentifier() for part in spec.function.replace(":", ".").split("."))
    ):
        raise InvalidValue(
            f"function {shorten(spec.function)!r} is not one of a module.",
            fix="Write MODULE:FUNCTION.",
            field="function",
        )
    if len(spec.sources) > SOURCES_MAX:
        raise InvalidValue(f"{len(spec.sources)} sources; at most {SOURCES_MAX} are allowed.", field="sources")
    for source in spec.sources:
        check_source(source)
    check_every(spec.every)
    return spec


def check_every(every: str) -> str:
    """The period itself: empty, `15m`, `1h`, `1d`, or five cron fields.

    Raises:
        InvalidValue: anything else, or more often than every ten seconds.
    """
    if not every:
        return every
    period = _PERIOD.fullmatch(every)
    fields = every.split()
    is_often = period is not None and int(period[1]) * _SECONDS[period[2]] < EVERY_S_MIN
    if is_often or (period is None and (len(fields) != 5 or not all(_CRON_FIELD.fullmatch(one) for one in fields))):
        raise InvalidValue(
            f"every {shorten(every)!r} is not a period; 30s, 15m, 1h, 1d or five cron fields are, "
            f"at least {EVERY_S_MIN} seconds.",
            field="every",
        )
    if period is None:
        _check_cron(every)
    return every


def check_file_name(name: str) -> str:
    """The name of an uploaded file, if it may be kept.

    Raises:
        InvalidValue: empty, too long, with a slash, backslash or a character that is not printable.
    """
    is_fine = 0 < len(name) <= FILE_NAME_LENGTH_MAX and name.isprintable() and name not in (".", "..")
    if not is_fine or "/" in name or "\\" in name:
        raise InvalidValue(
            f"file name {shorten(name)!r} is not allowed: printable characters are, no slash or backslash, "
            f"at most {FILE_NAME_LENGTH_MAX}.",
            field="name",
        )
    return name


def _check_database(source: Source) -> None:
    where = shown(source.url)
    parts = urlsplit(source.url.replace("{secret}", "SECRET"))
    has_password = bool(parts.password) and "{secret}" not in (urlsplit(source.url).password or "")
    if has_password or any(name in _SECRET_OPTIONS for name, _ in parse_qsl(parts.query)):
        raise InvalidValue(
            f"{where} has a password in it, which would be kept in the open.",
            fix="Store it with `sill secrets set NAME` and write postgresql://user:{secret}@host/db with secret=NAME.",
            field="url",
        )
    connection_settings(source.url.replace("{secret}", "SECRET"), where)
    check_select(source.query, where)


def _check_cron(every: str) -> None:
    from croniter import croniter

    if not croniter.is_valid(every):
        raise InvalidValue(f"every {shorten(every)!r} is not a cron expression.", field="every")
