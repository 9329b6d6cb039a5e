"""The base of every value on the wire and in the store: frozen, keyword only, unknown fields refused."""

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen value that means the same in the API, the SDK, the store and the console.

    Subclasses repeat `frozen=True, kw_only=True`: type checkers ask for the first, msgspec applies the second by class.
    Mutable defaults are copied by msgspec for each instance.
    """
