"""Trains the weights of `digits-classifier`, on the train split of `scattered-digits` alone.

::

    python -m probebench_datasets.backbones.digits_classifier_training digits_classifier.safetensors
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from probebench.api import Dataset, Split, bar
from probebench_datasets.backbones.digits_classifier import Classifier, to_input
from probebench_datasets.bundled.scattered_digits import ScatteredDigits
from probebench_datasets.options import ScatteredDigitsOptions

EPOCHS = 40
_BATCH = 100
_RATE = 5e-3


def train(dataset: Dataset, *, epochs: int = EPOCHS, seed: int = 0) -> Classifier:
    """Trains with AdamW, a one-cycle learning rate (Smith and Topin 2019) and label smoothing of 0.1.

    Args:
        dataset: A dataset of ten classes, whose split ``train`` is used.
        epochs: Number of passes over it.
        seed: Seed of the initial weights and of the order of the images.

    Returns:
        The network, in eval mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Classifier()
        images, labels = _tensors(dataset.split("train"))
        optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
        steps = len(images) // _BATCH
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps * epochs)
        with bar("train digits-classifier", total=epochs) as shown:
            for _ in range(epochs):
                for chosen in torch.randperm(len(images))[: steps * _BATCH].view(steps, _BATCH):
                    optimizer.zero_grad()
                    loss = cross_entropy(net(to_input(images[chosen])), labels[chosen], label_smoothing=0.1)
                    torch.autograd.backward(loss)
                    optimizer.step()
                    schedule.step()
                shown.advance()
    return net.eval()


@torch.no_grad()
def accuracy(net: Classifier, split: Split) -> float:
    """Returns the share of a split's images that are classified correctly, 0 to 1."""
    images, labels = _tensors(split)
    return float((net(to_input(images)).argmax(1) == labels).float().mean())


def main(out: Path) -> None:
    """Trains the network, and writes its weights in fp16 with a header that describes the training."""
    dataset = ScatteredDigits(ScatteredDigitsOptions())
    net = train(dataset)
    made = {
        "dataset": "scattered-digits",
        "train": dataset.split("train").fingerprint(),
        "epochs": EPOCHS,
        "test_accuracy": round(accuracy(net, dataset.split("test")), 4),
        "versions": {name: version(name) for name in ("probebench-datasets", "torch")},
    }
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in net.state_dict().items()
    }
    save_file(halves, out, metadata={"made": json.dumps(made)})
    print(json.dumps(made, indent=2))  # noqa: T201 - the output of the command


def _tensors(split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([split.image(index) for index in range(len(split))]), split.labels()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
