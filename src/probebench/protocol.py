"""Protocols: every setting that can change a probe's number, named and hashed.

The hash stands in every record. Rows of different hashes are never ranked together, so a changed default cannot pass
unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.canonical import digest
from probebench.record_models import Protocol

if TYPE_CHECKING:
    from probebench.registry import Component

VAL_FRACTION = 0.1
"""Share of train that is carved off for selection where a dataset has no official validation split."""

RULE = "highest primary metric on val; of equal values the shallower tap, then the lower level, then the first setting"

VERSION = 1
"""Raised when the harness itself, not a probe, changes what a number means."""


def protocol_of(probe: Component) -> Protocol:
    """The protocol that a probe is run under.

    Its name is the probe's title: the defaults carry the plain name, and every option that was set is seen in it.
    """
    document = {
        "version": VERSION,
        "probe": probe.identity(),
        "selection": {"split": "val", "rule": RULE, "val_fraction": VAL_FRACTION},
        "final_fit": "train and val together",
        "measured": "once on test",
    }
    return Protocol(name=probe.title, hash=digest(document), document=document)
