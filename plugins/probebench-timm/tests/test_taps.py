"""Taps against timm's modules and hooks, and their cost against the formula."""

from __future__ import annotations

import pytest
import timm
import torch

from probebench.api import UsageError
from probebench_timm import taps
from probebench_timm.network import build


@pytest.fixture
def hooked():
    """Outputs of modules in a forward pass of timm's own model, by the module's name."""

    def run(backbone, model, names, images):
        net = build(model, seed=0)
        found = {}
        for name in names:
            net.get_submodule(name).register_forward_hook(
                lambda _module, _inputs, output, name=name: found.__setitem__(name, output)
            )
        with torch.no_grad():
            net(backbone.prepare(images))
        return found

    return run


@pytest.mark.parametrize(
    ("model", "modules"),
    [
        ("test_resnet", ["act1", "layer1", "layer2", "layer3", "layer4"]),
        ("test_convnext", ["stages.0", "stages.1", "stages.2", "stages.3"]),
    ],
)
def test_stages_are_the_outputs_of_their_modules(backbone, images, features, hooked, model, modules):
    made = backbone(model)
    batch = images(3, 64)
    got = features(made, batch, [f"stage.{number}" for number in range(len(modules))])
    for number, (module, expected) in enumerate(hooked(made, model, modules, batch).items()):
        assert module == modules[number]
        torch.testing.assert_close(got[f"stage.{number}"], expected.flatten(1))


def test_blocks_are_all_tokens_in_the_order_of_the_network(backbone, images, features, hooked):
    made = backbone("test_vit")
    batch = images(2, 40)
    modules = [f"blocks.{number}" for number in range(6)]
    expected = hooked(made, "test_vit", modules, batch)
    names = [f"block.{number}" for number in range(6)]
    flat = features(made, batch, names)
    first = features(made, batch, names, pool="cls")
    for name, module in zip(names, modules, strict=True):
        torch.testing.assert_close(flat[name], expected[module].flatten(1))
        torch.testing.assert_close(first[name], expected[module][:, 0])


def test_maps_are_the_patches_in_their_places(backbone, images, features, hooked):
    made = backbone("test_vit")
    batch = images(2, 40)
    patches = hooked(made, "test_vit", ["blocks.3"], batch)["blocks.3"][:, 1:]
    got = features(made, batch, ["block.3.map"])["block.3.map"].view(2, 64, 10, 10)
    for row, column in ((0, 0), (2, 7), (9, 9)):
        torch.testing.assert_close(got[:, :, row, column], patches[:, 10 * row + column])


def test_without_a_class_token_a_block_is_a_map(backbone):
    """The pool `cls` would read a register or a patch there, so it must not be available."""
    made = backbone("test_vit4").taps((160, 160))
    assert [tap.id for tap in made] == [*(f"block.{number}" for number in range(len(made) - 1)), "pre_logits"]
    assert {tap.kind for tap in made[:-1]} == {"spatial"}


def test_a_class_token_after_the_blocks_is_not_a_token_of_the_blocks():
    assert {site.kind for site in taps.all_sites(build("cait_xxs24_224", seed=0))} == {"spatial", "vector"}


@pytest.mark.parametrize("model", ["test_resnet", "test_convnext", "test_vit", "test_vit4", "test_efficientnet"])
def test_pre_logits_are_the_input_of_the_classifier(backbone, images, features, model):
    """timm's own model, with the same weights and a classifier of ones, returns their sum."""
    made, batch = backbone(model), images(2, 64)
    whole = timm.create_model(model, num_classes=1).eval()
    mine = build(model, seed=0).state_dict()
    whole.load_state_dict({**whole.state_dict(), **mine})
    classifier = whole.get_classifier()
    torch.nn.init.ones_(classifier.weight)
    torch.nn.init.zeros_(classifier.bias)
    with torch.no_grad():
        expected = whole(made.prepare(batch))
    got = features(made, batch, ["pre_logits"])["pre_logits"]
    torch.testing.assert_close(got.sum(1, keepdim=True), expected, rtol=1e-4, atol=1e-4)


def test_aliases_are_the_names_of_timm(backbone):
    aliases = [tap.aliases for tap in backbone("test_resnet").taps((64, 64))]
    assert aliases == [("act1",), ("layer1",), ("layer2",), ("layer3",), ("layer4",), ()]


def test_a_name_that_timm_uses_twice_is_no_alias():
    assert [site.aliases for site in taps.all_sites(build("coat_tiny", seed=0))] == [
        ("serial_blocks1",),
        (),
        (),
        (),
        (),
    ]


def test_all_taps_take_one_pass_that_ends_with_the_deepest(backbone, images, features):
    made = backbone("test_resnet")
    calls = []
    for name in ("conv1", "layer2", "layer3"):
        made._net.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    features(made, images(2, 32), ["stage.2", "stage.0", "stage.1"])
    assert calls == ["conv1", "layer2"]
    calls.clear()
    features(made, images(2, 32), ["pre_logits", "stage.1"])
    assert calls == ["conv1", "layer2", "layer3"]


def test_costs_are_the_share_of_the_flops_up_to_the_tap(backbone):
    """FLOPs of a ViT by hand: 100 patches of 16 x 16 and a class token, width 64, 6 blocks."""
    made = backbone("test_vit")
    width, patches, tokens = 64, 100, 101
    hidden = made._net.blocks[0].mlp.fc1.out_features
    embedding = 2 * patches * (3 * 16 * 16) * width
    projections = 2 * tokens * width * (3 * width + width)
    attention = 2 * 2 * tokens * tokens * width
    mlp = 2 * 2 * tokens * width * hidden
    block = projections + attention + mlp
    total = embedding + 6 * block
    found = {tap.id: tap.cost for tap in made.taps((32, 32))}
    for number in range(6):
        expected = (embedding + (number + 1) * block) / total
        assert found[f"block.{number}"] == found[f"block.{number}.map"] == pytest.approx(expected, abs=1e-4)
    assert found["pre_logits"] == 1


def test_taps_of_two_branches_are_in_the_order_of_their_cost():
    net = timm.create_model("crossvit_tiny_240", num_classes=0, depth=[[1, 1, 0]] * 3).eval()
    measured = taps._measure(net, torch.zeros(1, 3, 240, 240))
    names = ["stage.0", "stage.3", "stage.1", "stage.4", "stage.2", "stage.5", "pre_logits"]
    assert [tap.id for tap in measured] == names
    assert [tap.cost for tap in measured] == sorted(tap.cost for tap in measured)


def test_shapes_follow_the_size_of_the_images(backbone):
    made = backbone("test_resnet")
    assert [tap.shape for tap in made.taps((64, 32))] == [
        (32, 32, 16),
        (32, 16, 8),
        (48, 8, 4),
        (192, 4, 2),
        (96, 2, 1),
        (96,),
    ]
    assert backbone("test_resnet", size=64).taps((64, 32))[0].shape == (32, 32, 32)


@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_a_model_that_cannot_run_on_meta_is_measured_by_a_real_pass(backbone, monkeypatch, model):
    expected = backbone(model).taps((160, 160))

    def fails_on_meta(name, *, seed):
        raise NotImplementedError("aten::nonzero has no kernel for meta")

    taps._measured_on_meta.cache_clear()
    monkeypatch.setattr(taps, "build", fails_on_meta)
    assert backbone(model).taps((160, 160)) == expected


def test_an_encoder_without_a_classifier_has_no_pre_logits():
    net = build("test_vit", seed=0)
    net.pretrained_cfg["classifier"] = None
    assert "pre_logits" not in {site.id for site in taps.all_sites(net)}


@pytest.mark.parametrize("options", [{"size": "native"}, {"size": 40}])
def test_a_size_that_the_model_does_not_accept(backbone, options):
    with pytest.raises(UsageError) as caught:
        backbone("vit_tiny_patch16_224", **options).taps((40, 40))
    assert "timm's vit_tiny_patch16_224 does not accept images of 40x40: " in str(caught.value)
    assert "try: size=model, which resizes images to the size of the model" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 3


def test_a_size_that_only_some_transformers_accept(backbone):
    """`fixed_input_size` in timm's configs is a default: this ViT adapts its positions to any size."""
    shapes = {tap.id: tap.shape for tap in backbone("test_vit", size=64).taps((28, 28))}
    assert shapes["block.0"] == (17, 64)
    assert shapes["block.0.map"] == (64, 4, 4)
