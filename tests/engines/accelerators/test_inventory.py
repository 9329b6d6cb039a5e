"""What the operator declares, beside what was found; and what a process then sees."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sill.core.errors import InvalidValue
from sill.engines.local.accelerators.inventory import Inventory

Pci = Callable[..., Path]
LOIHI = """
[[types]]
name = "loihi2"
kind = "neuromorphic"
price_usd_per_h = 0.4

[[devices]]
type = "loihi2"
names = ["left", "right"]
variable = "LOIHI_BOARDS"
"""


def declared(tmp_path: Path, text: str) -> Inventory:
    (tmp_path / "accelerators.toml").write_text(text)
    return Inventory(str(tmp_path / "accelerators.toml"), root=tmp_path)


def test_a_declared_device_is_a_device(tmp_path: Path) -> None:
    inventory = declared(tmp_path, LOIHI)

    assert [(each.type, each.name) for each in inventory.devices] == [("loihi2", "left"), ("loihi2", "right")]
    assert [(each.kind, each.price_usd_per_h) for each in inventory.types] == [("neuromorphic", 0.4)]


def test_what_is_said_of_a_found_type_is_added_to_what_was_found(tmp_path: Path, pci: Pci) -> None:
    pci("0000:00:05.0", 0x1AE0, 0x0063)
    inventory = declared(tmp_path, '[[types]]\nname = "tpu-v5e"\nprice_usd_per_h = 1.2\nthroughput = {bert = 3.1}\n')

    (kind,) = inventory.types
    assert (kind.kind, kind.shares, kind.price_usd_per_h, kind.throughput) == ("tpu", 1, 1.2, {"bert": 3.1})


def test_a_process_sees_what_it_was_given_and_nothing_else(tmp_path: Path, pci: Pci) -> None:
    pci("0000:00:05.0", 0x1AE0, 0x0063)
    inventory = declared(tmp_path, LOIHI)

    assert inventory.variables("loihi2", (1,))["LOIHI_BOARDS"] == "right"
    assert inventory.variables("loihi2", (1,))["TPU_VISIBLE_CHIPS"] == ""
    assert inventory.variables("tpu-v5e", (0,))["TPU_VISIBLE_CHIPS"] == "0"
    assert inventory.variables("", ())["LOIHI_BOARDS"] == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[types", "Expected"),
        ("[[kinds]]\n", "unknown field `kinds`"),
        ('[[types]]\nname = "x"\ncolour = "red"\n', "unknown field `colour`"),
        ('[[types]]\nname = "x"\nspeed = 0\n', "speed and throughput of type 'x' are more than 0"),
        ('[[types]]\nname = "x"\nprice_usd_per_h = nan\n', "price_usd_per_h of type 'x' is nan"),
        ('[[types]]\nname = "x"\nshares = 0\n', "shares of type 'x' is 0; it is 1 to 1,000"),
        ('[[types]]\nname = "No Name"\n', "'No Name' is not a name"),
        ('[[devices]]\ntype = "x"\nnames = ["1", "1"]\n', "declares a device twice"),
        ('[[devices]]\ntype = "x"\nnames = [""]\n', "the name of a device is empty"),
        (f'[[devices]]\ntype = "x"\nnames = {[str(each) for each in range(65)]}\n', "declares 65 devices"),
    ],
)
def test_a_declaration_that_no_device_can_be_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        declared(tmp_path, text)
    assert why in str(refused.value)


def test_a_declaration_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="No such file"):
        Inventory(str(tmp_path / "none.toml"), root=tmp_path)


def test_the_pages_example_is_a_declaration(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/scheduler.md").read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]

    kinds = {kind.name: kind.price_usd_per_h for kind in declared(tmp_path, example).types}
    assert kinds == {"loihi2": 0.4, "h200": 3.5}
