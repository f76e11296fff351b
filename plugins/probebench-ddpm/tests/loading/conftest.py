"""Checkpoints with a changed config."""

from __future__ import annotations

import json

import pytest

from probebench.api import UsageError
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.options import DDPMOptions


@pytest.fixture
def refused_config(saved, unet):
    """Saves a U-Net, changes its config or that of its schedule, and returns the error."""

    def load(network=None, /, *, of="unet/config.json", without=(), **changed):
        path = saved(network or unet()) / of
        config = {key: value for key, value in json.loads(path.read_text()).items() if key not in without}
        path.write_text(json.dumps({**config, **changed}))
        with pytest.raises(UsageError) as error:
            DDPM(DDPMOptions(checkpoint=str(path.parent.parent)))
        assert len(str(error.value).splitlines()) <= 3
        return str(error.value)

    return load
