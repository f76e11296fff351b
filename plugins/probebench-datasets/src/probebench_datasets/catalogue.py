"""Cards of the datasets that can be downloaded. Light: every command imports it."""

from __future__ import annotations

from probebench.api import DatasetSpec
from probebench_datasets.published_options import (
    CifarOptions,
    FashionMNISTOptions,
    STL10Options,
    SVHNOptions,
)

_KRIZHEVSKY = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"

PUBLISHED = (
    DatasetSpec(
        name="cifar10",
        factory="probebench_datasets.published.cifar:Cifar10",
        fetch="probebench_datasets.published.cifar:fetch_cifar10",
        options=CifarOptions,
        summary="CIFAR-10, 10 classes, 32x32, 50,000 train / 10,000 test; download",
        license="none stated",
        citation=_KRIZHEVSKY,
    ),
    DatasetSpec(
        name="cifar100",
        factory="probebench_datasets.published.cifar:Cifar100",
        fetch="probebench_datasets.published.cifar:fetch_cifar100",
        options=CifarOptions,
        summary="CIFAR-100, 100 fine classes, 32x32, 50,000 train / 10,000 test; download",
        license="none stated",
        citation=_KRIZHEVSKY,
    ),
    DatasetSpec(
        name="stl10",
        factory="probebench_datasets.published.stl10:STL10",
        fetch="probebench_datasets.published.stl10:fetch_stl10",
        options=STL10Options,
        summary="STL-10, 10 classes, 96x96, 5,000 train / 8,000 test, 100,000 unlabeled; download",
        license="none stated; the images are from ImageNet",
        citation="Coates, Lee and Ng, An Analysis of Single-Layer Networks in Unsupervised Feature Learning, 2011",
    ),
    DatasetSpec(
        name="fashion-mnist",
        factory="probebench_datasets.published.fashion_mnist:FashionMNIST",
        fetch="probebench_datasets.published.fashion_mnist:fetch_fashion_mnist",
        options=FashionMNISTOptions,
        summary="Fashion-MNIST, 10 kinds of clothing, grey, 28x28, 60,000 train / 10,000 test; download",
        requires=("pillow>=10.1",),
        license="MIT",
        citation="Xiao, Rasul and Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking, 2017",
    ),
    DatasetSpec(
        name="svhn",
        factory="probebench_datasets.published.svhn:SVHN",
        fetch="probebench_datasets.published.svhn:fetch_svhn",
        options=SVHNOptions,
        summary="Street View House Numbers, cropped digits, 32x32, 73,257 train / 26,032 test; download",
        requires=("scipy>=1.11",),
        license="for non-commercial use only",
        citation="Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, 2011",
    ),
)
