"""`finetune`: against a plain PyTorch loop; views and noise by epoch, seeds and divergence."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from probebench.api import FinetunableNetwork, InputImages, TrainingError, hash63
from probebench.stats.metrics import top1
from probebench_probes import FinetuneOptions
from probebench_probes.finetune import Finetune
from probebench_probes.optimization.batches import batches


def images(count: int, seed: int) -> InputImages:
    """Three kinds of stripes; each epoch has its own shift, as with noise and views."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    stripes = torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(9))
    pictures = stripes[labels] + torch.randn(count, 1, 6, 6, generator=generator)

    def inputs(rows, epoch):
        return pictures[rows] + (0 if epoch is None else 0.3 * epoch)

    return InputImages(labels, 3, inputs)


def backbone() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        layers = nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.2)
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


NETWORK = backbone()
TUNABLE = FinetunableNetwork(lambda: copy.deepcopy(NETWORK).train(), 5)
TRAIN, VAL = images(100, 0), images(80, 1)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_it_is_a_plain_loop(optimizer):
    momentum = 0.9 if optimizer == "sgd" else 0.0
    options = FinetuneOptions(
        learning_rates=(1e-2,), optimizer=optimizer, momentum=momentum, weight_decay=0.01, epochs=4, batch_size=32
    )
    (trial,) = Finetune(options).search(TUNABLE, TRAIN, VAL, metric=top1, seed=3)
    tuned = Finetune(options).fit(TUNABLE, TRAIN, trial.params, seed=3)

    network, head = copy.deepcopy(NETWORK), None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hash63("network", 3))
        head = nn.Linear(5, 3)
    weights = [*network.parameters(), *head.parameters()]
    if optimizer == "sgd":
        optimiser = torch.optim.SGD(weights, lr=1e-2, momentum=momentum, weight_decay=0.01)
    else:
        optimiser = torch.optim.AdamW(weights, lr=1e-2, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 4 * 4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hash63("finetune", 3))
        for epoch in range(4):
            for index in batches(100, 32, epoch, seed=3):
                optimiser.zero_grad()
                logits = head(network(TRAIN.inputs(index, epoch)))
                nn.functional.cross_entropy(logits, TRAIN.labels[index]).backward()
                optimiser.step()
                schedule.step()
    network.eval()
    expected = head(network(VAL.inputs(torch.arange(80), None))).detach()
    assert torch.allclose(tuned.scores(VAL), expected, rtol=1e-4, atol=1e-5)
    assert trial.value == pytest.approx(top1(expected, VAL.labels), abs=1.5 / 80)  # one image
    assert trial.value > 0.5


def test_every_training_starts_at_the_weights_of_the_backbone_and_does_not_change_them():
    before = copy.deepcopy(NETWORK.state_dict())
    options = FinetuneOptions(learning_rates=(1e-2, 1e-3), epochs=2)
    first, second = Finetune(options).search(TUNABLE, TRAIN, VAL, metric=top1, seed=0)
    (alone,) = Finetune(options.model_copy(update={"learning_rates": (1e-3,)})).search(
        TUNABLE, TRAIN, VAL, metric=top1, seed=0
    )
    assert (first.params, second.params) == ({"learning_rate": 1e-2}, {"learning_rate": 1e-3})
    assert second == alone
    assert all(torch.equal(value, before[name]) for name, value in NETWORK.state_dict().items())


def test_another_seed_trains_another_network():
    options = FinetuneOptions(epochs=1)
    one, other = (Finetune(options).fit(TUNABLE, TRAIN, {"learning_rate": 1e-3}, seed=seed) for seed in (0, 1))
    assert not torch.equal(one.scores(VAL), other.scores(VAL))


def test_a_class_without_train_images_is_never_predicted():
    few = InputImages(TRAIN.labels.clamp_max(1), 3, TRAIN.inputs)
    tuned = Finetune(FinetuneOptions(epochs=1)).fit(TUNABLE, few, {"learning_rate": 1e-3}, seed=0)
    assert (tuned.scores(VAL)[:, 2] == -torch.inf).all()


def test_a_training_that_diverges_is_a_trial_like_others_and_an_error_when_it_is_chosen():
    options = FinetuneOptions(optimizer="sgd", learning_rates=(1e38,), epochs=2)
    (trial,) = Finetune(options).search(TUNABLE, TRAIN, VAL, metric=top1, seed=0)
    assert trial.value == top1(torch.zeros(80, 3), VAL.labels)
    with pytest.raises(TrainingError) as error:
        Finetune(options).fit(TUNABLE, TRAIN, trial.params, seed=0)
    assert str(error.value).splitlines() == [
        "finetune diverges with the learning rate 1e+38, the best on val",
        "  in: option learning_rates of finetune",
        "  try: a smaller value, such as finetune:learning_rates=0.01",
    ]
