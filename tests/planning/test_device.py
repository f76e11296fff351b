"""The device and the precision of a run, and when PyTorch is imported to find them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from probebench.api import UsageError
from probebench.planning import device

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have neither /dev nor /proc/cpuinfo")


@pytest.fixture
def devices(monkeypatch):
    """A function that sets which device files exist and how many CUDA devices PyTorch finds."""

    def put(*names, cuda=0):
        exists = Path.exists

        def known(path):
            return path.name in names if path.parent == Path("/dev") else exists(path)

        monkeypatch.setattr(Path, "exists", known)
        monkeypatch.setattr("torch.cuda.device_count", lambda: cuda)

    return put


@linux
def test_auto_imports_no_torch_without_a_device_file(devices, monkeypatch):
    devices()
    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it fails
    assert device.pick_device("auto") == device.pick_device("cpu") == "cpu"
    with pytest.raises(ImportError):
        device.pick_device("cuda")


@linux
@pytest.mark.parametrize("name", ["nvidiactl", "nvidia0", "kfd", "dxg"])
def test_auto_uses_torch_where_a_device_file_exists(devices, monkeypatch, name):
    devices(name, cuda=2)
    assert device.pick_device("auto") == "cuda:0"
    devices(name, cuda=0)
    assert device.pick_device("auto") == "cpu"
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError):
        device.pick_device("auto")


@linux
def test_a_fresh_process_imports_no_torch_for_the_cpu():
    code = (
        "import sys; from pathlib import Path; Path.exists = lambda path: False\n"
        "from probebench.planning.device import device_name, pick_device, pick_precision\n"
        "chosen = pick_device('auto')\n"
        "print(chosen, pick_precision('auto', chosen, prefers_bf16=True), bool(device_name(chosen)))\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    precision = "bf16" if torch.cpu.get_capabilities().get("amx_bf16") else "fp32"
    assert done.stdout.splitlines() == [f"cpu {precision} True", "False"]


def test_named_devices(devices):
    devices("nvidiactl", cuda=2)
    assert [device.pick_device(name) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda", "cuda:1"]
    for name in ("cuda:2", "tpu", ""):
        with pytest.raises(UsageError) as caught:
            device.pick_device(name)
        assert str(caught.value).splitlines() == [
            f"there is no device {name!r}",
            "  in: --device",
            "  try: one of auto, cpu, cuda:0, cuda:1",
        ]


@linux
def test_the_processor_multiplies_in_bf16_as_torch_reports():
    assert device.multiplies_bf16("cpu") is bool(torch.cpu.get_capabilities().get("amx_bf16", False))


@pytest.fixture
def processor(monkeypatch):
    """A function that sets what Linux reports of the processor."""

    def put(text):
        read = Path.read_text

        def known(path, *arguments, **options):
            return text if path == Path("/proc/cpuinfo") else read(path, *arguments, **options)

        monkeypatch.setattr(Path, "read_text", known)

    return put


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512_bf16 amx_bf16 amx_tile", True), ("fpu avx512_bf16", False), ("fpu amx_bf16_later", False)],
)
def test_the_flags_of_the_first_processor_decide_without_torch(processor, monkeypatch, flags, expected):
    monkeypatch.setitem(sys.modules, "torch", None)
    processor(
        f"processor\t: 0\nmodel name\t: Maker: Model 3\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: amx_bf16\n"
    )
    assert device.multiplies_bf16("cpu") is expected
    assert device.pick_precision("auto", "cpu", prefers_bf16=True) == ("bf16" if expected else "fp32")
    assert device.pick_precision("auto", "cpu", prefers_bf16=False) == "fp32"
    assert device.device_name("cpu") == "Maker: Model 3"


def test_where_the_system_reports_no_processor_torch_is_used(monkeypatch):
    monkeypatch.setattr(device, "_processor", dict)
    for known, expected in (({"amx_bf16": True}, True), ({}, False)):
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda known=known: known)
        assert device.multiplies_bf16("cpu") is expected


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_cuda_devices_multiply_in_bf16_from_ampere_on(monkeypatch, capability, expected):
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: capability)
    assert device.pick_precision("auto", "cuda:0", prefers_bf16=True) == expected


def test_a_named_precision_is_taken(processor):
    processor("flags\t: fpu\n")
    assert device.pick_precision("bf16", "cpu", prefers_bf16=False) == "bf16"
    assert device.pick_precision("fp32", "cpu", prefers_bf16=True) == "fp32"
    with pytest.raises(UsageError, match="'fp16' is not a precision"):
        device.pick_precision("fp16", "cpu", prefers_bf16=True)
