"""Compares the settings of a training run with those it was started with, in terms of the options of `train`."""

from __future__ import annotations

from typing import Any

from probebench.api import differing_fields
from probebench_ddpm.options import DDPMRecipe

_MAX_SHOWN = 4


def changed_settings(started_with: Any, settings: dict[str, Any]) -> str:  # noqa: ANN401 - content of a JSON file
    """Lists the settings that a run was started with, where they differ from the present ones.

    Args:
        started_with: Content of ``run.json``.
        settings: Settings of the present command.

    Returns:
        Such as ``attention=false, seed=0 and 3 more``; empty if nothing differs.
    """
    old, new = _options(started_with), _options(settings)
    if changed := [f"{name}={_text(old[name])}" for name in new if name in old and old[name] != new[name]]:
        more = f" and {len(changed) - _MAX_SHOWN} more" if len(changed) > _MAX_SHOWN else ""
        return ", ".join(changed[:_MAX_SHOWN]) + more
    fields = differing_fields(started_with, settings)
    return f"another {fields}" if fields else ""


def _options(settings: Any) -> dict[str, Any]:  # noqa: ANN401 - content of a JSON file
    """Returns the options that settings come from; empty if they are not those of a training run."""
    try:
        return {
            "attention": settings["network"]["add_attention"],
            "widths": settings["network"]["block_out_channels"],
            **DDPMRecipe().model_dump(mode="json"),
            **settings["recipe"],
            "dataset": settings["dataset"]["name"],
            "flips": settings["flips"],
            "seed": settings["seed"],
            "precision": settings["precision"],
            "scale": settings.get("input_range", (-1.0, 1.0))[1],
        }
    except (KeyError, TypeError):
        return {}


def _text(value: Any) -> str:  # noqa: ANN401 - a JSON value
    if isinstance(value, bool):
        return str(value).lower()
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
