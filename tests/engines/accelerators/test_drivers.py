"""Each maker's plug-in on a copy of what its kernel driver shows. No such device is here; the layouts are the drivers' own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sill.engines.local.accelerators.drivers import detect, drivers, slug

GIB = 1024**3
Pci = Callable[..., Path]


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_machine_without_any_has_none(tmp_path: Path) -> None:
    assert detect(tmp_path) == ([], [])


def test_nvidias_driver_tells_model_and_uuid_without_its_library(tmp_path: Path) -> None:
    for slot, uuid in (("0000:3b:00.0", "GPU-8d3e"), ("0000:af:00.0", "GPU-91aa")):
        text = f"Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 74\nGPU UUID: \t {uuid}\n"
        put(tmp_path / f"proc/driver/nvidia/gpus/{slot}/information", text)

    devices, types = detect(tmp_path)

    assert [kind.name for kind in types] == ["h100-80gb-hbm3"]
    assert [(each.driver, each.name) for each in devices] == [("nvidia", "GPU-8d3e"), ("nvidia", "GPU-91aa")]


def test_amds_nodes_with_compute_units_are_devices_with_their_memory_and_target(tmp_path: Path) -> None:
    nodes = tmp_path / "sys/class/kfd/kfd/topology/nodes"
    put(nodes / "0/properties", "cpu_cores_count 64\nsimd_count 0\n")  # the processor
    put(nodes / "10/properties", "simd_count 1216\ngfx_target_version 90402\ndrm_render_minor 136\n")
    put(nodes / "2/properties", "simd_count 416\ngfx_target_version 90010\ndrm_render_minor 128\n")
    put(nodes / "2/mem_banks/0/properties", f"heap_type 1\nsize_in_bytes {64 * GIB}\n")
    put(nodes / "2/mem_banks/1/properties", f"heap_type 0\nsize_in_bytes {8 * GIB}\n")  # the host's
    put(tmp_path / "sys/class/drm/renderD136/device/product_name", "AMD Instinct MI300X OAM\n")

    devices, types = detect(tmp_path)

    assert [(kind.name, kind.memory_bytes) for kind in types] == [("gfx90a", 64 * GIB), ("instinct-mi300x-oam", 0)]
    assert types[1].capabilities[0] == "gfx942"
    assert [each.name for each in devices] == ["0", "1"]


@pytest.mark.parametrize(
    ("vendor", "device", "name", "kind"),
    [
        (0x1AE0, 0x0063, "tpu-v5e", "tpu"),
        (0x1DA3, 0x1020, "gaudi2", "asic"),
        (0x1D0F, 0x7164, "trainium", "asic"),
        (0x1D0F, 0x7264, "inferentia2", "asic"),
        (0x8086, 0x0BD5, "max-1550", "gpu"),
    ],
)
def test_a_card_is_known_by_its_numbers_on_the_bus(
    tmp_path: Path, pci: Pci, vendor: int, device: int, name: str, kind: str
) -> None:
    pci("0000:00:05.0", vendor, device)
    pci("0000:00:04.0", vendor, device)
    pci("0000:00:03.0", vendor, 0xFFFF)  # another product of the maker

    devices, types = detect(tmp_path)

    assert [(each.name, each.kind) for each in types] == [(name, kind)]
    assert len(devices) == 2


def test_gaudi_modules_are_named_as_they_sit_in_the_host(tmp_path: Path, pci: Pci) -> None:
    for number, (address, module) in enumerate((("0000:19:00.0", 6), ("0000:1a:00.0", 4))):
        device = pci(address, 0x1DA3, 0x1060)
        put(device / "pci_addr", f"{address}\n")
        put(device / "module_id", f"{module}\n")
        accel = tmp_path / f"sys/class/accel/accel{number}"
        accel.mkdir(parents=True)
        (accel / "device").symlink_to(device)

    assert [each.name for each in detect(tmp_path)[0]] == ["6", "4"]


def test_neuron_cores_are_counted_through_all_devices(tmp_path: Path, pci: Pci) -> None:
    pci("0000:00:1e.0", 0x1D0F, 0x7364)
    pci("0000:00:1f.0", 0x1D0F, 0x7364)
    put(tmp_path / "sys/devices/virtual/neuron_device/neuron0/core_count", "4\n")

    assert [each.name for each in detect(tmp_path)[0]] == ["0,1,2,3", "4,5,6,7,8,9,10,11"]


def test_intels_npu_is_one_while_its_driver_has_it(tmp_path: Path, pci: Pci) -> None:
    pci("0000:00:0b.0", 0x8086, 0x7D1D, driver="intel_vpu")
    pci("0000:00:02.0", 0x8086, 0x7D55, driver="i915")  # the processor's graphics

    assert [each.type for each in detect(tmp_path)[0]] == ["intel-npu"]


def test_what_a_driver_says_in_no_form_we_know_is_left_out_and_the_rest_is_found(tmp_path: Path, pci: Pci) -> None:
    put(tmp_path / "sys/class/kfd/kfd/topology/nodes/x/properties", "simd_count 4\n")
    pci("0000:00:05.0", 0x1AE0, 0x005E)

    assert [each.type for each in detect(tmp_path)[0]] == ["tpu-v4"]


@pytest.mark.parametrize(
    ("driver", "some", "none"),
    [
        ("nvidia", {"CUDA_VISIBLE_DEVICES": "a,b"}, {"CUDA_VISIBLE_DEVICES": ""}),
        ("amd", {"ROCR_VISIBLE_DEVICES": "a,b"}, {"ROCR_VISIBLE_DEVICES": "-1"}),
        ("habana", {"HABANA_VISIBLE_MODULES": "a,b"}, {"HABANA_VISIBLE_MODULES": ""}),
        ("neuron", {"NEURON_RT_VISIBLE_CORES": "a,b"}, {"NEURON_RT_VISIBLE_CORES": ""}),
        ("intel", {"ZE_AFFINITY_MASK": "a,b"}, {"ONEAPI_DEVICE_SELECTOR": "!level_zero:gpu"}),
        (
            "google",
            {"TPU_VISIBLE_CHIPS": "a,b", "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,2,1", "TPU_PROCESS_BOUNDS": "1,1,1"},
            {"TPU_VISIBLE_CHIPS": "", "JAX_PLATFORMS": "cpu"},
        ),
        ("apple", {}, {}),
    ],
)
def test_a_process_is_told_in_the_makers_own_words(driver: str, some: dict[str, str], none: dict[str, str]) -> None:
    assert drivers()[driver].environment(["a", "b"]) == some
    assert drivers()[driver].environment([]) == none


def test_a_product_becomes_one_word() -> None:
    assert slug("NVIDIA GeForce RTX 4090", "nvidia") == "geforce-rtx-4090"
