"""What a user requests from a run: each option is declared here once.

The flags of ``probebench run``, the keys of a config file, ``--help`` and the table of docs/cli.md follow from these
declarations.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from probebench.planning.device import check_precision
from probebench.util.defaults import DEFAULT_BACKBONE, DEFAULT_DATASET, DEFAULT_PROBE, DEFAULT_RESULTS, default_store
from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from probebench.api import TapKind

OptionForm = Literal["specs", "words", "integers", "integer", "text", "switch", "path"]
"""How an option is written: repeated specs, a comma-separated list of words or of integers, or a single value."""


@dataclass(frozen=True)
class OptionDeclaration:
    """One option of ``probebench run``.

    Attributes:
        name: Its key in a config file; the flag has hyphens in place of underscores.
        form: How it is written.
        help: One line, for ``--help`` and the documentation.
        default: The default as the documentation states it.
        per_run: Whether a table ``[[run]]`` of a config file may set it; the others hold for all runs of the file.
    """

    name: str
    form: OptionForm
    help: str
    default: str
    per_run: bool

    @property
    def flag(self) -> str:
        """The flag, such as ``--noise-seed``."""
        return f"--{self.name.replace('_', '-')}"


def option(
    form: OptionForm,
    help: str,  # noqa: A002 - the word of every command line library
    *,
    default: object = None,
    factory: Callable[[], object] | None = None,
    shown: str = "",
    per_run: bool = True,
) -> Any:  # noqa: ANN401 - the type of a dataclass field
    """Declares a dataclass field as an option of ``probebench run``.

    Args:
        form: How it is written.
        help: One line.
        default: Value where the user gives none.
        factory: Makes the default, where it depends on the machine.
        shown: The default as the documentation states it.
        per_run: See `OptionDeclaration`.
    """
    metadata = {"form": form, "help": help, "default": shown, "per_run": per_run}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def declared_options(*classes: type) -> Iterator[OptionDeclaration]:
    """Yields the options that dataclasses declare, in the order of their fields."""
    for one in classes:
        for declared in fields(one):
            if declared.metadata:
                yield OptionDeclaration(declared.name, **declared.metadata)


class RequestError(UsageError):
    """A backbone or dataset does not have what the request names, such as a tap."""


@dataclass(frozen=True)
class Request:
    """The product of backbones, datasets, probes and seeds, and how it is run.

    Attributes:
        only_contender: Whether `taps` and `levels` were written for these backbones. False where the command line
            replaces the backbones of a config file: a backbone with one tap, or without noise levels, is then read
            there, as it is beside another contender.
    """

    backbone: tuple[str, ...] = option(
        "specs", "SPEC; repeat it for several", default=(DEFAULT_BACKBONE,), shown="`ddpm`"
    )
    dataset: tuple[str, ...] = option(
        "specs", "SPEC; repeat it for several", default=(DEFAULT_DATASET,), shown="`scattered-digits`"
    )
    probe: tuple[str, ...] = option("specs", "SPEC; repeat it for several", shown="`knn`, where no protocol is named")
    protocol: tuple[str, ...] = option(
        "specs", "Named protocol, or one probe of it, such as thesis2024:knn; repeat it for several", default=()
    )
    taps: tuple[str, ...] = option(
        "words",
        "Taps that are read, such as mid,up.1; all adds the fine ones",
        default=(),
        shown="the backbone's defaults",
    )
    levels: tuple[str, ...] = option(
        "words",
        "Noise levels, such as 0,10,50; ignored by backbones that have none",
        default=(),
        shown="the backbone's defaults",
    )
    pool: str = option(
        "text",
        "How a feature map becomes a vector: gap, gridN, max, cls or flat",
        default="",
        shown="the probe's, mostly `gap`",
    )
    seeds: tuple[int, ...] = option(
        "integers", "Seeds of the carved val part and of the probe, such as 0,1,2", default=(0,), shown="`0`"
    )
    noise_seed: int = option("integer", "Seed of the noise added to images, and of crops", default=0, shown="`0`")
    limit: int | None = option(
        "integer", "Images per split, for a smoke run, which no board ranks", shown="all", per_run=False
    )
    precision: str = option(
        "text",
        "fp32 or bf16; auto is bf16 where network and hardware are faster in it",
        default="auto",
        shown="`auto`",
    )
    device: str = option(
        "text", "cpu, cuda or cuda:N; auto is the first CUDA device, else cpu", default="auto", shown="`auto`"
    )
    baselines: bool = option(
        "switch", "Also run raw pixels, and each network with random weights", default=True, shown="on"
    )
    optimism: bool = option(
        "switch",
        "Also measure every trial on test, to report what choosing on test would have given",
        default=False,
        shown="off",
    )
    soft_vote: bool = option(
        "switch",
        "Average the probabilities of all levels at the chosen tap, for backbones with several",
        default=False,
        shown="off",
    )
    results: Path = option("path", "Folder of the records", default=DEFAULT_RESULTS, shown="`results`", per_run=False)
    store: Path = option(
        "path", "Folder of the feature store", factory=default_store, shown="the user's cache folder", per_run=False
    )
    boards: Path | None = option(
        "path", "Folder of leaderboards, built from all records in --results when the run ends", per_run=False
    )
    plots: Path | None = option("path", "Folder of figures, plotted from the same records", per_run=False)
    only_contender: bool = True

    def __post_init__(self) -> None:
        if self.probe is None:
            object.__setattr__(self, "probe", () if self.protocol else (DEFAULT_PROBE,))


def check_request(request: Request) -> None:
    """Checks a request alone, before any name in it is looked up.

    Raises:
        UsageError: A value is missing or wrong.
    """
    requested = {
        "backbone": request.backbone,
        "dataset": request.dataset,
        "probe": request.probe or request.protocol,
        "seeds": request.seeds,
    }
    if empty := [name for name, values in requested.items() if not values]:
        raise UsageError(f"--{empty[0]} is empty, so there is nothing to run", hint=f"give --{empty[0]} a value")
    if negative := [seed for seed in request.seeds if seed < 0]:
        raise UsageError(f"seed {negative[0]} is negative", where="--seeds", hint="--seeds 0,1,2")
    if request.optimism and request.soft_vote:
        raise UsageError(
            "--optimism cannot be combined with --soft-vote, because a soft vote selects no single noise level",
            hint="leave out --optimism or --soft-vote",
        )
    check_points(request.pool, limit=request.limit, precision=request.precision)


def check_points(pool: str, *, limit: int | None, precision: str) -> None:
    """Checks how features are requested, before anything is built.

    Raises:
        UsageError: The limit, the precision or the pool does not exist.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit} leaves no image to measure", hint="--limit 1 or more images per split")
    check_precision(precision)
    # Imported here: `--help` reads the declarations above, and needs no more.
    from probebench.api import TapKind

    if pool and not any(_fits(pool, kind) for kind in get_args(TapKind)):
        raise UsageError(f"{pool!r} is not a pool", where="--pool", hint="one of gap, gridN, max, cls, flat")


def _fits(pool: str, kind: TapKind) -> bool:
    from probebench.api import check_pool

    try:
        check_pool(pool, kind)
    except UsageError:
        return False
    return True
