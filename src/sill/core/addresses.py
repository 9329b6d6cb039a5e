"""The address of a thing: how one stage names what another stage keeps, and what lineage links."""

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.core.values import Value

KINDS = ("tables", "features", "runs", "models", "endpoints", "requests", "sources", "code")


class Address(Value, frozen=True, kw_only=True):
    """`sill://PROJECT/KIND/NAME[/VERSION]`, such as `sill://churn/models/churn/3` or `sill://churn/tables/customers/8841`."""

    project: str
    kind: str
    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"sill://{self.project}/{self.kind}/{self.name}" + (f"/{self.version}" if self.version else "")


def parse_address(text: str) -> Address:
    """The address a text spells.

    Raises:
        InvalidValue: it does not start with `sill://`, has the wrong number of parts, or an unknown kind.
    """
    scheme, _, rest = text.partition("://")
    parts = rest.split("/")
    if scheme != "sill" or len(parts) not in (3, 4) or not all(parts) or parts[1] not in KINDS:
        raise InvalidValue(
            f"{shorten(text)!r} is not an address; sill://PROJECT/KIND/NAME[/VERSION] is, with KIND one of {', '.join(KINDS)}."
        )
    return Address(project=parts[0], kind=parts[1], name=parts[2], version=parts[3] if len(parts) == 4 else "")
