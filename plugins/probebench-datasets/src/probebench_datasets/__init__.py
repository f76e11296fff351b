"""Datasets, bundled, published or the user's own, and raw pixels as the baseline of every leaderboard."""

from collections.abc import Iterator

from probebench.api import BackboneSpec, DatasetSpec, hookimpl
from probebench_datasets.options import (
    CifarOptions,
    FashionMNISTOptions,
    Flowers102Options,
    ImageFolderOptions,
    ParquetOptions,
    PixelsOptions,
    ScatteredDigitsOptions,
    STL10Options,
    SVHNOptions,
)

PROBEBENCH_API = 1

_DIGITS_LICENSE = "CC-BY-4.0 (UCI Optical Recognition of Handwritten Digits)"
_DIGITS_CITATION = "Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998"
_CIFAR_CITATION = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"


@hookimpl
def probebench_datasets() -> Iterator[DatasetSpec]:
    """Yields all datasets: the bundled ones, the user's own, and the published ones."""
    yield DatasetSpec(
        name="scattered-digits",
        factory="probebench_datasets.bundled.scattered_digits:ScatteredDigits",
        files="probebench.api:no_files",
        options=ScatteredDigitsOptions,
        summary="handwritten digits at random positions and in random colours, 16x16 RGB, 6000 train / 2000 test",
        requires=("pillow>=10.1",),
        license=_DIGITS_LICENSE,
        citation=_DIGITS_CITATION,
    )
    yield DatasetSpec(
        name="digits",
        factory="probebench_datasets.bundled.digits:Digits",
        files="probebench.api:no_files",
        summary="handwritten digits, centred and grey, 8x8, 1437 train / 360 test",
        requires=("pillow>=10.1",),
        license=_DIGITS_LICENSE,
        citation=_DIGITS_CITATION,
    )
    yield DatasetSpec(
        name="imagefolder",
        factory="probebench_datasets.user_data.imagefolder:ImageFolder",
        files="probebench_datasets.paths:user_files",
        options=ImageFolderOptions,
        summary="your images, in one folder per class: imagefolder:path=FOLDER",
        requires=("pillow>=10.1",),
    )
    yield DatasetSpec(
        name="parquet",
        factory="probebench_datasets.user_data.parquet:Parquet",
        files="probebench_datasets.paths:user_files",
        options=ParquetOptions,
        summary="your images, in Parquet files as on the Hugging Face hub: parquet:path=FOLDER",
        requires=("pillow>=10.1", "pyarrow>=15"),
    )
    yield DatasetSpec(
        name="flowers102",
        factory="probebench_datasets.published.flowers102:Flowers102",
        files="probebench_datasets.paths:flowers102_files",
        options=Flowers102Options,
        fetch="probebench_datasets.published.flowers102:fetch",
        summary="Oxford Flowers-102, 102 classes, resized to 64x64, 1020 train / 1020 val / 6149 test; download",
        requires=("pillow>=10.1", "scipy>=1.11"),
        citation="Nilsback and Zisserman, Automated flower classification over a large number of classes, ICVGIP 2008",
    )
    yield DatasetSpec(
        name="cifar10",
        factory="probebench_datasets.published.cifar:Cifar10",
        files="probebench_datasets.paths:cifar10_files",
        fetch="probebench_datasets.published.cifar:fetch_cifar10",
        options=CifarOptions,
        summary="CIFAR-10, 10 classes, 32x32, 50,000 train / 10,000 test; download",
        license="none stated",
        citation=_CIFAR_CITATION,
    )
    yield DatasetSpec(
        name="cifar100",
        factory="probebench_datasets.published.cifar:Cifar100",
        files="probebench_datasets.paths:cifar100_files",
        fetch="probebench_datasets.published.cifar:fetch_cifar100",
        options=CifarOptions,
        summary="CIFAR-100, 100 fine classes, 32x32, 50,000 train / 10,000 test; download",
        license="none stated",
        citation=_CIFAR_CITATION,
    )
    yield DatasetSpec(
        name="stl10",
        factory="probebench_datasets.published.stl10:STL10",
        files="probebench_datasets.paths:stl10_files",
        fetch="probebench_datasets.published.stl10:fetch_stl10",
        options=STL10Options,
        summary="STL-10, 10 classes, 96x96, 5,000 train / 8,000 test, 100,000 unlabeled; download",
        license="none stated; the images are from ImageNet",
        citation="Coates, Lee and Ng, An Analysis of Single-Layer Networks in Unsupervised Feature Learning, 2011",
    )
    yield DatasetSpec(
        name="fashion-mnist",
        factory="probebench_datasets.published.fashion_mnist:FashionMNIST",
        files="probebench_datasets.paths:fashion_mnist_files",
        fetch="probebench_datasets.published.fashion_mnist:fetch_fashion_mnist",
        options=FashionMNISTOptions,
        summary="Fashion-MNIST, 10 classes of clothing, grey, 28x28, 60,000 train / 10,000 test; download",
        requires=("pillow>=10.1",),
        license="MIT",
        citation="Xiao, Rasul and Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking, 2017",
    )
    yield DatasetSpec(
        name="svhn",
        factory="probebench_datasets.published.svhn:SVHN",
        files="probebench_datasets.paths:svhn_files",
        fetch="probebench_datasets.published.svhn:fetch_svhn",
        options=SVHNOptions,
        summary="Street View House Numbers, cropped digits, 32x32, 73,257 train / 26,032 test; download",
        requires=("scipy>=1.11",),
        license="for non-commercial use only",
        citation="Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, 2011",
    )


@hookimpl
def probebench_backbones() -> Iterator[BackboneSpec]:
    """Yields the baseline of every leaderboard, and the classifier of `scattered-digits`."""
    yield BackboneSpec(
        name="pixels",
        factory="probebench_datasets.backbones.pixels:Pixels",
        files="probebench.api:no_files",
        options=PixelsOptions,
        summary="raw pixels, optionally averaged over a grid: the baseline for every backbone",
        baseline=True,
    )
    yield BackboneSpec(
        name="digits-classifier",
        factory="probebench_datasets.backbones.digits_classifier:DigitsClassifier",
        files="probebench.api:no_files",
        summary="a small network trained on the labels of scattered-digits: an upper bound, and an FID extractor",
        license=_DIGITS_LICENSE,
    )
