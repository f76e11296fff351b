"""Inception as a backbone: its features are those of torch-fidelity."""

from __future__ import annotations

import pytest
import torch

from probebench.api import Batch, DataError, Point
from probebench_fidelity.inception import Inception
from probebench_fidelity.inception_weights import URL, path_of
from probebench_fidelity.options import InceptionOptions


def images(count=2, size=20):
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_features_are_those_of_torch_fidelity(accepted, tmp_path):
    from torch_fidelity import FeatureExtractorInceptionV3

    path = tmp_path / "weights.pth"
    path.write_bytes(accepted)
    taps = ["64", "768", "2048", "logits_unbiased"]
    theirs = FeatureExtractorInceptionV3("inception", taps, feature_extractor_weights_path=str(path))
    inputs = []
    theirs.Conv2d_1a_3x3.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    expected = dict(zip(taps, theirs(images()), strict=True))
    backbone = Inception(InceptionOptions(weights=str(path)))
    points = [Point(tap, "clean", "flat") for tap in taps]
    features = backbone.extract(Batch(images(), torch.arange(2), "test"), points, seed=0)
    for point in points:  # the same layers on the same kernels: bit-identical
        assert torch.equal(features[point], expected[point.tap]), point
    assert torch.equal(backbone.prepare(images()), inputs[0])
    widths = {tap.id: tap.shape[0] for tap in backbone.taps((20, 20))}
    assert all(widths[tap] == expected[tap].shape[1] for tap in taps)
    assert backbone.parameters == sum(weight.numel() for weight in theirs.parameters())


def test_random_weights_need_no_file_and_no_global_state():
    before = torch.get_rng_state()
    fingerprints = {Inception(InceptionOptions(pretrained=False, init_seed=seed)).fingerprint() for seed in (0, 0, 1)}
    assert len(fingerprints) == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_without_the_file_taps_are_known_and_features_are_not():
    backbone = Inception(InceptionOptions())
    assert [tap.id for tap in backbone.taps((32, 32)) if tap.default] == ["2048"]
    with pytest.raises(DataError) as caught:
        backbone.fingerprint()
    path = path_of(InceptionOptions())
    assert path.parent.name == "checkpoints"
    assert str(caught.value).splitlines() == [
        f"the file of Inception's weights does not exist: {path}",
        "  in: backbone inception",
        f"  try: add --download to probebench run, or save {URL} as this file",
    ]
