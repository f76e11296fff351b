"""Names and options that are accepted, errors for all others, and fingerprints."""

from __future__ import annotations

import socket

import pytest
import torch

from probebench.api import UsageError
from probebench.plugins.registry import installed, resolve


def test_a_misspelt_model(backbone):
    with pytest.raises(UsageError) as caught:
        backbone("resnet_18")
    message = str(caught.value)
    assert message.startswith("timm has no model 'resnet_18'\n  in: option model of timm\n  try: did you mean ")
    assert "'resnet18'" in message


def test_a_name_that_resembles_no_model(backbone):
    with pytest.raises(
        UsageError, match=r"timm has no model '§§§'[\s\S]*one of the \d+ names that timm\.list_models\(\) returns"
    ):
        backbone("§§§")


def test_an_unknown_tag(backbone):
    with pytest.raises(UsageError) as caught:
        backbone("test_resnet.r161_in1k")
    assert str(caught.value) == (
        "timm's test_resnet has no tag 'r161_in1k'\n  in: option model of timm\n  try: one of r160_in1k"
    )


def test_a_tag_of_a_model_without_tags(backbone):
    with pytest.raises(UsageError, match="try: model=mixer_s32_224, which has no tags"):
        backbone("mixer_s32_224.in1k")


@pytest.mark.parametrize("name", ["hf-hub:timm/test_resnet.r160_in1k", "hf_hub:timm/test_resnet", "local-dir:/tmp"])
def test_names_that_would_download_something(backbone, monkeypatch, name):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("the network was used"))
    with pytest.raises(UsageError, match="timm has no model"):
        backbone(name)


def test_the_spec_resolves_with_its_defaults():
    component = resolve("backbone", "timm")
    assert component.title == "timm"
    assert component.options.model_dump() == {"model": "resnet18", "weights": "none", "size": "auto", "init_seed": 0}
    assert installed().find("backbone", "timm").spec.untrained == ("weights=none",)


@pytest.mark.parametrize(("text", "size"), [("model", "model"), ("native", "native"), ("96", 96)])
def test_size_is_a_word_or_a_number(text, size):
    assert resolve("backbone", f"timm:size={text}").options.model_dump()["size"] == size


@pytest.mark.parametrize("text", ["timm:size=large", "timm:size=4", "timm:size=32x32", "timm:init_seed=-1"])
def test_values_out_of_bounds(text):
    with pytest.raises(UsageError, match=r"option (size|init_seed)="):
        resolve("backbone", text)


def test_random_weights_depend_on_the_seed_alone(backbone):
    first = backbone(init_seed=1)
    torch.rand(5)
    assert first.fingerprint() == backbone(init_seed=1).fingerprint()
    assert first.fingerprint() != backbone(init_seed=2).fingerprint()


def test_the_fingerprint_covers_name_and_preprocessing(backbone):
    prints = [
        backbone(**options).fingerprint()
        for options in ({}, {"model": "test_resnet.r160_in1k"}, {"size": "model"}, {"size": 64}, {"model": "test_vit"})
    ]
    assert len(set(prints)) == len(prints)
    assert backbone(size="native").fingerprint() == prints[0]


def test_parameters_are_those_without_the_classifier(backbone):
    import timm

    whole = timm.create_model("test_resnet", num_classes=10)
    classifier = sum(weight.numel() for weight in whole.get_classifier().parameters())
    assert backbone().parameters == sum(weight.numel() for weight in whole.parameters()) - classifier
