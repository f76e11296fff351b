"""k-NN and linear read-outs of frozen features."""

from collections.abc import Iterator

from probebench.api import ProbeSpec, ProtocolSpec, hookimpl
from probebench_probes.options import KnnOptions, LinearOptions, LogregOptions, RidgeOptions

PROBEBENCH_API = 1


@hookimpl
def probebench_probes() -> Iterator[ProbeSpec]:
    """Yields the probes."""
    yield ProbeSpec(
        name="knn",
        factory="probebench_probes.knn:Knn",
        options=KnnOptions,
        summary="k nearest neighbours, cosine or euclidean; one search serves every k",
        citation="Wu, Xiong, Yu and Lin, Unsupervised Feature Learning via Non-Parametric Instance Discrimination, "
        "CVPR 2018 (temperature-weighted votes)",
    )
    yield ProbeSpec(
        name="linear",
        factory="probebench_probes.linear:Linear",
        options=LinearOptions,
        summary="softmax regression; all learning rates and weight decays train in one batched product",
        citation="Alain and Bengio, Understanding intermediate layers using linear classifier probes, 2016",
    )
    yield ProbeSpec(
        name="logreg",
        factory="probebench_probes.logreg:Logreg",
        options=LogregOptions,
        summary="softmax regression at its optimum, by L-BFGS; all values of C in one fit",
        citation="Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, 2023",
    )
    yield ProbeSpec(
        name="ridge",
        factory="probebench_probes.ridge:Ridge",
        options=RidgeOptions,
        summary="least squares on one-hot classes, in closed form; one decomposition serves every penalty",
        citation="Hoerl and Kennard, Ridge Regression: Biased Estimation for Nonorthogonal Problems, "
        "Technometrics 12, 1970",
    )


@hookimpl
def probebench_protocols() -> Iterator[ProtocolSpec]:
    """Yields the protocols."""
    for name in ("default", "dino", "instdisc", "thesis2024"):
        yield ProtocolSpec(name=name, document=f"probebench_probes:protocols/{name}.toml")
