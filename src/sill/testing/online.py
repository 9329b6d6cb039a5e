"""What every online driver must do. Subclass, and give the fixture `online`."""

import pytest

from sill.core.errors import InvalidValue
from sill.stores.kv.port import KEY_BYTES_MAX, KEYS_PER_CALL_MAX, VALUE_BYTES_MAX, Online


class OnlineContract:
    """The suite. Subclasses define the fixture `online`: an empty store."""

    def test_values_come_in_the_order_of_the_keys(self, online: Online) -> None:
        online.put_many("churn/recent", {"a": b"1", "b": b"", "ключ": b"\x00\xff"})

        assert online.get_many("churn/recent", ["ключ", "absent", "b", "a", "a"]) == [
            *(b"\x00\xff", None, b"", b"1", b"1"),
        ]

    def test_the_last_value_of_a_key_stands(self, online: Online) -> None:
        online.put_many("n", {"a": b"1", "b": b"1"})
        online.put_many("n", {"a": b"2"})

        assert online.get_many("n", ["a", "b"]) == [b"2", b"1"]

    def test_namespaces_do_not_see_each_other(self, online: Online) -> None:
        online.put_many("churn/x", {"a": b"churn"})
        online.put_many("churn/x/a", {"a": b"other"})

        assert online.get_many("churn/x", ["a"]) == [b"churn"]
        assert online.get_many("churn", ["a", "x/a"]) == [None, None]

    def test_a_dropped_namespace_is_empty(self, online: Online) -> None:
        online.put_many("n", {"a": b"1"})
        online.put_many("other", {"a": b"1"})
        online.drop("n")
        online.drop("never-there")

        assert online.get_many("n", ["a"]) == [None]
        assert online.get_many("other", ["a"]) == [b"1"]

    def test_nothing_asked_is_nothing_answered(self, online: Online) -> None:
        online.put_many("n", {})

        assert online.get_many("n", []) == []

    def test_many_rows_at_once(self, online: Online) -> None:
        rows = {f"customer-{n}": f"value {n}".encode() for n in range(12_000)}
        online.put_many("n", rows)

        assert online.get_many("n", list(rows)) == list(rows.values())

    @pytest.mark.parametrize("namespace", ["", " ", "a b", "a\nb", "*", "x" * 301])
    def test_a_namespace_outside_the_grammar_is_refused(self, online: Online, namespace: str) -> None:
        for use in (online.drop, lambda n: online.get_many(n, ["a"]), lambda n: online.put_many(n, {"a": b""})):
            with pytest.raises(InvalidValue):
                use(namespace)

    def test_what_is_too_much_is_refused_and_nothing_kept(self, online: Online) -> None:
        for rows in ({"a": b"", "k" * (KEY_BYTES_MAX + 1): b""}, {"a": b"", "b": bytes(VALUE_BYTES_MAX + 1)}):
            with pytest.raises(InvalidValue):
                online.put_many("n", rows)
        with pytest.raises(InvalidValue):
            online.get_many("n", ["a"] * (KEYS_PER_CALL_MAX + 1))
        assert online.get_many("n", ["a"]) == [None]
