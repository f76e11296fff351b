"""`mlp`, `cnn` and `attention`: against plain PyTorch loops; shapes, seeds and divergence."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from probebench.api import Features, TrainingError, UsageError, hash63
from probebench.stats.metrics import top1
from probebench_probes.networks.attention import AttentionProbe
from probebench_probes.networks.cnn import CnnProbe
from probebench_probes.networks.mlp import MlpProbe
from probebench_probes.optimization.batches import batches
from probebench_probes.options import AttentionOptions, CnnOptions, MlpOptions

SHAPE = (4, 3, 3)


def images(count: int, seed: int, *, classes: int = 3, shape: tuple[int, ...] = SHAPE, noise: float = 0.7) -> Features:
    """Maps that differ in where their channels are large; the last channel has another scale and a mean."""
    centres = torch.randn(classes, *shape, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=generator)
    maps = centres[labels] + noise * torch.randn(count, *shape, generator=generator)
    maps[:, -1] = 3 * maps[:, -1] + 2
    return Features(maps.flatten(1), labels, classes, shape)


TRAIN, VAL = images(150, 0), images(120, 1)


class Tokens(nn.Module):
    """The attention head of diffssl, made of PyTorch's transformer layers with zero bias of q, k and v."""

    def __init__(self, shape: tuple[int, int, int], width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.LayerNorm(shape), nn.Conv2d(shape[0], width, 1)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        layer = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(width, heads, 4 * width, **layer) for _ in range(2))
        for one in self.layers:
            one.self_attn.in_proj_bias.requires_grad_(requires_grad=False).zero_()
        self.head = nn.Linear(width, 3)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        tokens = self.conv(self.norm(maps)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(maps), 1, -1), tokens], 1)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(tokens[:, 0])


_NAMES = {"tokens": "conv", "blocks": "layers", "qkv": "self_attn.in_proj", "out": "self_attn.out_proj"}
_NAMES |= {"mlp.0": "linear1", "mlp.2": "linear2"}


def attention_reference(start: dict[str, torch.Tensor]) -> nn.Module:
    network = Tokens(SHAPE, 16, 4)
    renamed = {}
    for name, value in start.items():
        for ours, theirs in _NAMES.items():
            name = name.replace(ours, theirs)
        renamed[name.replace("in_proj.weight", "in_proj_weight")] = value
    missing = network.load_state_dict(renamed, strict=False)
    assert all(name.endswith("in_proj_bias") for name in missing.missing_keys)
    assert not missing.unexpected_keys
    return network


def mlp_reference(start: dict[str, torch.Tensor]) -> nn.Module:
    network = nn.Sequential(nn.Linear(36, 20), nn.ReLU(), nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3))
    for ours, theirs in zip(start.values(), network.parameters(), strict=True):
        theirs.data.copy_(ours)
    return nn.Sequential(nn.Flatten(), network)


class Convolutions(nn.Module):
    def __init__(self, start: dict[str, torch.Tensor]) -> None:
        super().__init__()
        values = iter(start.values())
        self.first = nn.Conv2d(4, 8, 3, padding="same")
        self.head = nn.Linear(8, 3)
        with torch.no_grad():
            self.first.weight.copy_(next(values))
            self.first.bias.copy_(next(values))
            self.scale, self.shift = nn.Parameter(next(values).clone()), nn.Parameter(next(values).clone())
            self.head.weight.copy_(next(values))
            self.head.bias.copy_(next(values))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        maps = nn.functional.layer_norm(self.first(maps), (8, 3, 3))
        maps = torch.relu(maps * self.scale[:, None, None] + self.shift[:, None, None])
        return self.head(maps.mean((2, 3)))


def test_an_epoch_trains_on_the_next_view():
    views = tuple(images(150, seed).vectors for seed in (0, 7))
    options = MlpOptions(widths=(8,), learning_rates=(1e-2,), epochs=3, batch_size=32, views="flip")
    seen = Features(torch.full_like(TRAIN.vectors, torch.nan), TRAIN.labels, 3, SHAPE, views)
    fitted = MlpProbe(options).fit(seen, {"learning_rate": 1e-2}, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hash63("network", 3))
        network = MlpProbe(options).network(SHAPE, 3)
    both = torch.cat(views).view(-1, *SHAPE)
    mean, deviation = both.mean((0, 2, 3), keepdim=True), both.std((0, 2, 3), correction=0, keepdim=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 3 * 5)
    for epoch in range(3):
        maps = (views[epoch % 2].view(-1, *SHAPE) - mean) / deviation
        for index in batches(150, 32, epoch, seed=3):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(maps[index]), TRAIN.labels[index]).backward()
            optimiser.step()
            schedule.step()
    expected = network((VAL.vectors.view(-1, *SHAPE) - mean) / deviation)
    assert torch.allclose(fitted.scores(VAL.vectors), expected, atol=1e-4)


CASES = {
    "mlp": (MlpProbe, MlpOptions(widths=(20, 8), learning_rates=(1e-2,), epochs=8, batch_size=32), mlp_reference),
    "cnn": (CnnProbe, CnnOptions(widths=(8,), learning_rates=(1e-2,), epochs=8, batch_size=32), Convolutions),
    "attention": (
        AttentionProbe,
        AttentionOptions(width=16, heads=4, learning_rates=(1e-2,), epochs=8, batch_size=32),
        attention_reference,
    ),
    "attention, as published": (
        AttentionProbe,
        AttentionOptions(
            width=16,
            heads=4,
            learning_rates=(5e-2,),
            weight_decay=0.0,
            optimizer="sgd",
            schedule="step",
            epochs=8,
            batch_size=32,
            inputs="raw",
        ),
        attention_reference,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_a_plain_loop(case, assert_same_predictions):
    make, options, reference = CASES[case]
    (trial,) = make(options).search(TRAIN, VAL, metric=top1, seed=3)
    fitted = make(options).fit(TRAIN, trial.params, seed=3)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hash63("network", 3))
        network = reference(make(options).network(SHAPE, 3).state_dict())
    maps, seen = TRAIN.vectors.view(-1, *SHAPE), VAL.vectors.view(-1, *SHAPE)
    if options.inputs == "standardized":
        mean, deviation = maps.mean((0, 2, 3), keepdim=True), maps.std((0, 2, 3), correction=0, keepdim=True)
        maps, seen = (maps - mean) / deviation, (seen - mean) / deviation
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    rate = options.learning_rates[0]
    if options.optimizer == "sgd":
        optimiser = torch.optim.SGD(weights, lr=rate)
        schedule = torch.optim.lr_scheduler.StepLR(optimiser, options.epochs // 4, 0.1)
    else:
        optimiser = torch.optim.AdamW(weights, lr=rate, weight_decay=options.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.epochs * 5)
    for epoch in range(options.epochs):
        for index in batches(150, 32, epoch, seed=3):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(maps[index]), TRAIN.labels[index]).backward()
            optimiser.step()
            if options.schedule == "cosine":
                schedule.step()
        if options.schedule == "step":
            schedule.step()
    expected = network(seen).detach()
    assert_same_predictions(fitted.scores(VAL.vectors), expected, margin=1e-2, share=0.9)
    assert trial.value == pytest.approx(top1(expected, VAL.labels), abs=1.5 / 120)  # one image
    assert trial.value > 0.6 or case == "attention, as published"  # chance is a third; plain SGD needs more steps


@pytest.mark.parametrize("case", ["mlp", "cnn", "attention"])
def test_a_vector_is_a_map_of_one_position(case):
    make, options, _ = CASES[case]
    plain = [Features(part.vectors, part.labels, 3) for part in (TRAIN, VAL)]
    stated = [Features(part.vectors, part.labels, 3, (36,)) for part in (TRAIN, VAL)]
    assert make(options).search(*plain, metric=top1, seed=0) == make(options).search(*stated, metric=top1, seed=0)


def test_tokens_are_read_by_attention_as_the_positions_of_a_map():
    make, options, _ = CASES["attention"]
    maps = [Features(part.vectors, part.labels, 3, (4, 9, 1)) for part in (TRAIN, VAL)]
    tokens = [Features(p.vectors.view(-1, 4, 9).mT.flatten(1), p.labels, 3, (9, 4)) for p in (TRAIN, VAL)]
    (expected,), (found,) = (make(options).search(*both, metric=top1, seed=0) for both in (maps, tokens))
    assert found.params == expected.params
    assert found.value == pytest.approx(expected.value, abs=1.5 / 120)  # another memory layout may round otherwise


def test_tokens_have_no_neighbours_for_a_convolution():
    make, options, _ = CASES["cnn"]
    tokens = Features(TRAIN.vectors, TRAIN.labels, 3, (9, 4))
    with pytest.raises(UsageError, match="cnn needs feature maps, but the features are 9 tokens of 4 numbers") as error:
        make(options).search(tokens, tokens, metric=top1, seed=0)
    assert error.value.hint == "--pool gap, or --probe attention"


def test_a_training_that_diverges_is_not_chosen_and_an_error_when_it_is():
    options = MlpOptions(optimizer="sgd", learning_rates=(1e38, 0.3), epochs=8, batch_size=32)
    with warnings.catch_warnings(record=True) as caught:
        worse, better = MlpProbe(options).search(TRAIN, VAL, metric=top1, seed=0)
    assert not caught
    assert worse.value < 0.5 < better.value
    with pytest.raises(
        TrainingError, match=r"mlp diverges with the learning rate 1e\+38.*\n.*of mlp\n.*mlp:learning_rates=0\.01$"
    ):
        MlpProbe(options).fit(TRAIN, worse.params, seed=0)


def test_training_uses_bf16_if_the_run_does():
    make, options, _ = CASES["mlp"]
    exact, short = make(options), make(options)
    short.move_to("cpu", "bf16")
    one, other = (probe.fit(TRAIN, {"learning_rate": 1e-2}, seed=0).scores(VAL.vectors) for probe in (exact, short))
    assert one.dtype == other.dtype == torch.float32
    assert not torch.equal(one, other)
    assert abs(top1(one, VAL.labels) - top1(other, VAL.labels)) < 0.1


@pytest.mark.parametrize("case", ["mlp", "cnn", "attention"])
@pytest.mark.parametrize("classes", [1, 2])
def test_few_classes(case, classes):
    """N8: lightly computes the top 5 of every dataset, and fails where there are fewer classes."""
    make, options, _ = CASES[case]
    data = images(40, 0, classes=classes)
    scores = make(options).fit(data, {"learning_rate": 1e-2}, seed=0).scores(data.vectors)
    assert scores.shape == (40, classes)
    assert scores.isfinite().all()


@pytest.mark.parametrize("case", ["mlp", "cnn", "attention"])
def test_an_image_is_scored_alone_as_among_others(case):
    """N14: in lightly, norm layers remained in training mode, and the score of an image depended on its batch."""
    make, options, _ = CASES[case]
    fitted = make(options).fit(TRAIN, {"learning_rate": 1e-2}, seed=0)
    alone = torch.cat([fitted.scores(row[None]) for row in VAL.vectors[:9]])
    assert torch.allclose(alone, fitted.scores(VAL.vectors)[:9], atol=1e-4)


def test_nothing_but_a_processor_is_needed():
    """N7: DINO's scripts exit without a GPU, and need the variables of a launcher even with one GPU."""
    make, options, _ = CASES["cnn"]
    probe = make(options)
    probe.move_to("cpu", "fp32")
    assert probe.search(TRAIN, VAL, metric=top1, seed=0) == make(options).search(TRAIN, VAL, metric=top1, seed=0)
