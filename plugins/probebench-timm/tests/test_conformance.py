"""Convnets, a ViT with a class token and a ViT without one pass every conformance check."""

from __future__ import annotations

from probebench.testing import parametrize_with_checks


@parametrize_with_checks(
    [
        "timm:model=test_resnet",
        "timm:model=test_convnext,size=64",
        "timm:model=test_efficientnet,size=64",
        "timm:model=test_vit",
        "timm:model=test_vit4",
    ]
)
def test_conformance(subject, check):
    check(subject)
