"""Features in bf16 agree with fp32 up to rounding, or an error is raised."""

from __future__ import annotations

import re

import pytest
import torch

from probebench.api import UsageError


@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_bf16_gives_the_same_features_but_for_rounding(backbone, images, features, model):
    batch, names = images(4, 64), [tap.id for tap in backbone(model).taps((64, 64))]
    exact, rounded = (backbone(model) for _ in range(2))
    rounded.move_to("cpu", "bf16")
    expected = features(exact, batch, names)
    for tap, vectors in features(rounded, batch, names).items():
        assert 0 < float((vectors - expected[tap]).norm() / expected[tap].norm()) < 0.03, tap


def test_a_layer_that_goes_wrong_in_bf16_is_found(backbone):
    made = backbone("test_resnet")

    def broken_in_bf16(_module, _inputs, output):
        return output.flip(1) if output.dtype == torch.bfloat16 else output

    made._net.layer2.register_forward_hook(broken_in_bf16)
    with pytest.raises(UsageError) as caught:
        made.move_to("cpu", "bf16")
    what, *rest = str(caught.value).splitlines()
    assert re.fullmatch(r"stage\.2 in bf16 differs from fp32 by \d+ %, which is more than rounding", what)
    assert rest == ["  in: timm's test_resnet on cpu", "  try: --precision fp32"]


def test_overflow_in_bf16_is_found(backbone):
    made = backbone("test_resnet")
    made._net.layer3.register_forward_hook(
        lambda _module, _inputs, output: output * float("nan") if output.dtype == torch.bfloat16 else output
    )
    with pytest.raises(UsageError, match=r"stage\.3 in bf16 differs from fp32 by nan %"):
        made.move_to("cpu", "bf16")


def test_bf16_is_checked_in_the_sizes_that_were_described(backbone):
    """Images of another size may use another kernel."""
    made = backbone("test_resnet")
    made.taps((24, 40))

    def broken_in_small(_module, _inputs, output):
        return output.flip(1) if output.dtype == torch.bfloat16 and output.shape[2:] == (12, 20) else output

    made._net.act1.register_forward_hook(broken_in_small)
    with pytest.raises(UsageError, match=r"stage\.0 in bf16 differs"):
        made.move_to("cpu", "bf16")


def test_features_that_are_zero_in_both_precisions_are_equal(backbone):
    made = backbone("test_resnet")
    made._net.layer3.register_forward_hook(lambda _module, _inputs, output: output * 0)
    made.move_to("cpu", "bf16")
