"""Against powercap files and an NVML that the tests make up."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from mirl.training.energy import CPU_PACKAGES, GPU_BOARD, Rapl, counter, name_of

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def zone(powercap: Path, folder: str, name: str, energy_uj: int, span_uj: int = 1_000_000_000) -> Path:
    place = powercap / folder
    place.mkdir(exist_ok=True)
    (place / "name").write_text(f"{name}\n")
    (place / "max_energy_range_uj").write_text(f"{span_uj}\n")
    (place / "energy_uj").write_text(f"{energy_uj}\n")
    return place / "energy_uj"


def test_the_packages_are_added_up_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    part = zone(tmp_path, "intel-rapl:0:0", "core", 10)
    whole = zone(tmp_path, "intel-rapl:2", "psys", 10)
    joules = Rapl(tmp_path)
    assert joules() == 0
    for file, now in ((first, 3_000_000), (second, 5_500_000), (part, 900_000_000), (whole, 900_000_000)):
        file.write_text(f"{now}\n")
    assert joules() == 2.5
    assert joules() == 2.5


def test_a_counter_that_begins_anew_goes_on(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", 999_000_000)
    joules = Rapl(tmp_path)
    file.write_text("2000000\n")
    assert joules() == 3.0
    file.write_text("999000000\n")
    assert joules() == 1000.0
    file.write_text("0\n")
    assert joules() == 1001.0


def test_a_machine_that_does_not_tell_has_no_counter(tmp_path: Path) -> None:
    assert counter(CPU, tmp_path / "gone") is None
    zone(tmp_path, "intel-rapl:0", "psys", 10)
    assert counter(CPU, tmp_path) is None
    file = zone(tmp_path, "intel-rapl:1", "package-0", 10)
    found = counter(CPU, tmp_path)
    assert found is not None and found[0] == CPU_PACKAGES
    file.unlink()
    file.mkdir()  # unreadable for root, too
    assert counter(CPU, tmp_path) is None
    with pytest.raises(OSError):
        found[1]()


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """One GPU that has drawn `millijoules`; `broken` makes NVML refuse."""
    card = SimpleNamespace(millijoules=0, broken=False)
    made = ModuleType("pynvml")

    class NVMLError(Exception):
        pass

    def drawn(board: str) -> int:
        if card.broken:
            raise NVMLError("Not Supported")
        assert board == "GPU-1234"
        return card.millijoules

    vars(made).update(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=str,
        nvmlDeviceGetTotalEnergyConsumption=drawn,
    )
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234"))
    return card


def test_a_gpu_tells_by_its_uuid(nvml: SimpleNamespace) -> None:
    found = counter(GPU)
    assert found is not None and found[0] == GPU_BOARD
    nvml.millijoules = 12_500
    assert found[1]() == 12.5
    nvml.broken = True
    with pytest.raises(OSError, match="Not Supported"):
        found[1]()
    assert counter(GPU) is None


def test_a_gpu_without_nvml_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it fails
    assert counter(GPU) is None


def test_devices_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert name_of(CPU, 1).startswith("1 thread of ") and name_of(CPU, 2).startswith("2 threads of ")
    assert len(name_of(CPU, 2)) > len("2 threads of ")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    assert name_of(GPU, 2) == "Some GPU"
