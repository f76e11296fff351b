"""Weights are loaded completely, or an error names those that do not fit."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from probebench.api import UsageError


@pytest.fixture
def trained():
    """In place of a trained model: timm's own, with a classifier and other random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        net = timm.create_model("test_resnet", num_classes=10).eval()
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.normal_(module.running_mean)
    return net


def _write(state, path):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt"])
def test_features_are_those_of_the_saved_network(tmp_path, backbone, images, features, trained, name):
    loaded = backbone(weights=_write(trained.state_dict(), tmp_path / name))
    batch = images(3, 64)
    with torch.no_grad():
        maps = trained.forward_features(loaded.prepare(batch))
        expected = {"stage.4": maps.flatten(1), "pre_logits": trained.forward_head(maps, pre_logits=True)}
    for tap, vectors in features(loaded, batch, list(expected)).items():
        torch.testing.assert_close(vectors, expected[tap])
    untrained = features(backbone(), batch, ["stage.4"])["stage.4"]
    assert (untrained - expected["stage.4"]).abs().max() > 0.1


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_a_training_checkpoint_is_unwrapped(tmp_path, backbone, trained, wrapper):
    plain = _write(trained.state_dict(), tmp_path / "plain.pth")
    wrapped = _write({wrapper: trained.state_dict(), "epoch": 3}, tmp_path / "wrapped.pth")
    assert backbone(weights=wrapped).fingerprint() == backbone(weights=plain).fingerprint()


def test_the_classifier_may_be_absent_or_of_any_size(tmp_path, backbone, trained):
    state = trained.state_dict()
    headless = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    assert len(headless) == len(state) - 2
    paths = [_write(state, tmp_path / "ten.pth"), _write(headless, tmp_path / "none.pth")]
    first, second = (backbone(weights=path).fingerprint() for path in paths)
    assert first == second


def test_old_files_have_no_count_of_batches(tmp_path, backbone, trained):
    state = {name: tensor for name, tensor in trained.state_dict().items() if not name.endswith("num_batches_tracked")}
    backbone(weights=_write(state, tmp_path / "old.pth"))


def test_half_precision_is_read_as_fp32(tmp_path, backbone, images, features, trained):
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in trained.state_dict().items()
    }
    loaded = backbone(weights=_write(half, tmp_path / "half.safetensors"))
    assert {weight.dtype for weight in loaded._net.parameters()} == {torch.float32}
    assert features(loaded, images(2, 32), ["stage.4"])["stage.4"].isfinite().all()


def test_the_weights_of_another_model(tmp_path, backbone, trained):
    state = trained.state_dict()
    state["neck.weight"] = torch.zeros(3)
    del state["conv1.0.weight"]
    state["layer1.0.conv1.weight"] = torch.zeros(2, 2)
    path = _write(state, tmp_path / "other.safetensors")
    with pytest.raises(UsageError) as caught:
        backbone(weights=path)
    assert str(caught.value) == (
        "weights do not fit test_resnet: conv1.0.weight is missing; neck.weight is unknown; and 1 more\n"
        f"  in: {path}\n"
        "  try: set the option model to the model that the weights were saved from"
    )


def test_a_weight_of_another_shape(tmp_path, backbone, trained):
    state = trained.state_dict() | {"bn1.weight": torch.zeros(5)}
    with pytest.raises(UsageError, match=r"bn1\.weight is \(5,\), not \(32,\)"):
        backbone(weights=_write(state, tmp_path / "w.safetensors"))


def test_a_file_that_does_not_exist(tmp_path, backbone):
    missing = str(tmp_path / "gone.pth")
    with pytest.raises(UsageError) as caught:
        backbone(weights=missing)
    assert str(caught.value) == (
        f"no file {missing!r}\n  in: option weights of timm\n"
        "  try: weights=FILE, a .safetensors, .pth or .pt file; or weights=package, or weights=none"
    )


def test_a_type_of_file_that_is_not_supported(tmp_path, backbone):
    path = tmp_path / "weights.npz"
    path.write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"weights of type '\.npz' are not supported"):
        backbone(weights=str(path))


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x02."])
def test_a_damaged_file(tmp_path, backbone, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        backbone(weights=str(path))
    assert caught.value.what.startswith(f"{name} cannot be read: ")
    assert len(str(caught.value).splitlines()) == 3


def test_a_truncated_file(tmp_path, backbone, trained):
    path = Path(_write(trained.state_dict(), tmp_path / "w.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError, match="cannot be read"):
        backbone(weights=str(path))


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {}, {1: torch.zeros(2)}])
def test_a_file_without_weights(tmp_path, backbone, content):
    with pytest.raises(UsageError, match="does not contain a state dict"):
        backbone(weights=_write(content, tmp_path / "w.pth"))


class _Payload:
    """Unpickling it would create a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_nothing_in_a_file_is_executed(tmp_path, backbone):
    target, path = tmp_path / "executed", tmp_path / "w.pth"
    torch.save({"state_dict": _Payload(target)}, path)
    with pytest.raises(UsageError, match="cannot be read"):
        backbone(weights=str(path))
    assert not target.exists()
    pickle.loads(pickle.dumps(_Payload(target)))
    assert target.exists()
