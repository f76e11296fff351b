"""Probes of frozen features: k-NN, linear models and small networks."""

from collections.abc import Iterator

from probebench.api import ProbeSpec, ProtocolSpec, hookimpl
from probebench_probes.options import (
    AttentionOptions,
    CnnOptions,
    FewshotOptions,
    FinetuneOptions,
    KnnOptions,
    LinearOptions,
    LogregOptions,
    MlpOptions,
    RidgeOptions,
)

PROBEBENCH_API = 1

_PROTOCOLS = (
    "ddae2023",
    "ddae2023-views",
    "default",
    "diffssl2023",
    "dino",
    "dinov2-linear",
    "fewshot",
    "instdisc",
    "logreg-sweep",
    "thesis2024",
)

_DIFFSSL = "Mukhopadhyay et al., Diffusion Models Beat GANs on Image Classification, 2023, arXiv 2307.08702"


@hookimpl
def probebench_probes() -> Iterator[ProbeSpec]:
    """Yields the probes."""
    yield ProbeSpec(
        name="knn",
        factory="probebench_probes.neighbours.knn:Knn",
        options=KnnOptions,
        summary="k nearest neighbours, cosine or Euclidean; one search serves every k",
        citation="Wu, Xiong, Yu and Lin, Unsupervised Feature Learning via Non-Parametric Instance Discrimination, "
        "CVPR 2018 (temperature-weighted votes)",
    )
    yield ProbeSpec(
        name="linear",
        factory="probebench_probes.linear_models.linear:Linear",
        options=LinearOptions,
        summary="softmax regression; all learning rates and weight decays train in one batched product",
        citation="Alain and Bengio, Understanding intermediate layers using linear classifier probes, 2016",
    )
    yield ProbeSpec(
        name="logreg",
        factory="probebench_probes.linear_models.logreg:Logreg",
        options=LogregOptions,
        summary="softmax regression at its optimum, by L-BFGS; all values of C in one fit",
        citation="Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, 2023",
    )
    yield ProbeSpec(
        name="ridge",
        factory="probebench_probes.linear_models.ridge:Ridge",
        options=RidgeOptions,
        logits=False,
        summary="least squares on one-hot classes, in closed form; one decomposition serves every penalty",
        citation="Hoerl and Kennard, Ridge Regression: Biased Estimation for Nonorthogonal Problems, "
        "Technometrics 12, 1970",
    )
    yield ProbeSpec(
        name="fewshot",
        factory="probebench_probes.fewshot:Fewshot",
        options=FewshotOptions,
        wraps="probe",
        summary="any probe, fitted on a few images per class; each seed samples other images",
    )
    yield ProbeSpec(
        name="mlp",
        factory="probebench_probes.networks.mlp:MlpProbe",
        options=MlpOptions,
        summary="fully connected layers with ReLU on the pooled map",
        citation=_DIFFSSL,
    )
    yield ProbeSpec(
        name="cnn",
        factory="probebench_probes.networks.cnn:CnnProbe",
        options=CnnOptions,
        pool="grid4",
        summary="3 x 3 convolutions on the map, pooled to 4 x 4 by default",
        citation=_DIFFSSL,
    )
    yield ProbeSpec(
        name="attention",
        factory="probebench_probes.networks.attention:AttentionProbe",
        options=AttentionOptions,
        pool="grid4",
        summary="transformer blocks with a class token on the map, pooled to 4 x 4 by default",
        citation=_DIFFSSL,
    )
    yield ProbeSpec(
        name="finetune",
        factory="probebench_probes.finetune:Finetune",
        options=FinetuneOptions,
        consumes="backbone",
        summary="a linear layer on the backbone, trained end to end with it; the features are not frozen",
    )


@hookimpl
def probebench_protocols() -> Iterator[ProtocolSpec]:
    """Yields the protocols."""
    for name in _PROTOCOLS:
        yield ProtocolSpec(name=name, document=f"probebench_probes:protocols/{name}.toml")
