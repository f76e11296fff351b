"""What the user requested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from probebench.api import TapKind, UsageError, check_pool
from probebench.planning.device import check_precision

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Request:
    """What the user asked for; the product of backbones, datasets, probes and seeds is run.

    Attributes:
        backbones: Specs.
        datasets: Specs.
        probes: Specs.
        seeds: Of the carved validation part and of the probe.
        taps: Names or aliases; ``all`` for every tap; empty for each backbone's default ones. Beside another backbone,
            one with a single tap is read there.
        levels: As the backbone writes them; empty for its default ones. Beside another backbone, one without noise is
            read ``clean``.
        pool: How feature maps become vectors; empty for each probe's own way, mostly ``gap``.
        protocols: Names of protocols, whose probes are run beside `probes`.
        limit: Images per split, for a smoke run.
        noise_seed: Of the noise that is added to images.
        precision: ``auto``, ``fp32`` or ``bf16``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        baselines: Whether raw pixels and each network with random weights are run as well.
        optimism: Whether every trial is measured on test as well, after the choice.
        soft_vote: Whether all levels at the chosen tap vote, of backbones that have several.
        borrowed: Whether taps and levels were named for other backbones than these, as where the command line asks for
            one in place of a config file's: one with a single tap or without noise is read there, though it is alone.
        results: Folder of the records.
        store: Folder of the feature store.
    """

    backbones: tuple[str, ...]
    datasets: tuple[str, ...]
    probes: tuple[str, ...]
    results: Path
    store: Path
    seeds: tuple[int, ...] = (0,)
    taps: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    pool: str = ""
    protocols: tuple[str, ...] = ()
    limit: int | None = None
    noise_seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    baselines: bool = True
    optimism: bool = False
    soft_vote: bool = False
    borrowed: bool = False


def check_request(request: Request) -> None:
    """Checks a request alone, before any name in it is looked up.

    Raises:
        UsageError: A value is missing or wrong.
    """
    asked = {
        "backbone": request.backbones,
        "dataset": request.datasets,
        "probe": request.probes or request.protocols,
        "seeds": request.seeds,
    }
    if empty := [name for name, values in asked.items() if not values]:
        raise UsageError("nothing is given, so there is nothing to run", where=f"--{empty[0]}")
    if any(seed < 0 for seed in request.seeds):
        raise UsageError(f"negative seed in {','.join(map(str, request.seeds))}", where="--seeds", hint="0,1,2")
    if request.optimism and request.soft_vote:
        raise UsageError(
            "a soft vote has no optimism: no point is chosen that another could flatter",
            where="--optimism and --soft-vote",
            hint="give one of them",
        )
    check_reading(request)


def check_reading(request: Request) -> None:
    """Checks how features are asked for, before anything is built.

    Raises:
        UsageError: The limit, the precision or the pool is none.
    """
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"--limit {request.limit} leaves nothing to measure", hint="1 or more images per split")
    check_precision(request.precision)
    if request.pool and not any(_fits(request.pool, kind) for kind in get_args(TapKind)):
        raise UsageError(f"no pool {request.pool!r}", where="--pool", hint="one of gap, gridN, max, cls, flat")


def _fits(pool: str, kind: TapKind) -> bool:
    try:
        check_pool(pool, kind)
    except UsageError:
        return False
    return True
