"""Everything that a plugin may import: contracts, specs and options.

Importing this module is cheap: it brings no torch with it, so a plugin's light module may use it freely.
"""

from probebench.api.contracts import Backbone, Dataset, Fitted, Metric, Probe, Split, check_range
from probebench.api.finetuning import FinetunableNetwork, FinetunedNetwork, FinetuningProbe, InputImages
from probebench.api.generation import ImageSet, Measured, SampleOptions, SampleProbe, SamplingJob
from probebench.api.hooks import API_VERSION, hookimpl
from probebench.api.neighbours import FittedNeighbours, Neighbours, neighbour_votes
from probebench.api.options import NoOptions, Options, ViewOptions
from probebench.api.pooling import check_pool, pool_for, pool_map, pooled_shape
from probebench.api.specs import BackboneSpec, DatasetSpec, ProbeSpec, ProtocolSpec, Spec, no_files
from probebench.api.types import (
    CLEAN,
    Batch,
    Features,
    Level,
    Point,
    Precision,
    Scalar,
    Tap,
    TapKind,
    TrainingJob,
    TrainingStage,
    Trial,
)
from probebench.util.errors import (
    DataError,
    FeatureError,
    PluginError,
    ProbebenchError,
    ProbebenchWarning,
    TrainingError,
    UsageError,
)
from probebench.util.hashing import differing_fields
from probebench.util.progress import bar
from probebench.util.seeding import hash63, normal

__all__ = [
    "API_VERSION",
    "CLEAN",
    "Backbone",
    "BackboneSpec",
    "Batch",
    "DataError",
    "Dataset",
    "DatasetSpec",
    "FeatureError",
    "Features",
    "FinetunableNetwork",
    "FinetunedNetwork",
    "FinetuningProbe",
    "Fitted",
    "FittedNeighbours",
    "ImageSet",
    "InputImages",
    "Level",
    "Measured",
    "Metric",
    "Neighbours",
    "NoOptions",
    "Options",
    "PluginError",
    "Point",
    "Precision",
    "Probe",
    "ProbeSpec",
    "ProbebenchError",
    "ProbebenchWarning",
    "ProtocolSpec",
    "SampleOptions",
    "SampleProbe",
    "SamplingJob",
    "Scalar",
    "Spec",
    "Split",
    "Tap",
    "TapKind",
    "TrainingError",
    "TrainingJob",
    "TrainingStage",
    "Trial",
    "UsageError",
    "ViewOptions",
    "bar",
    "check_pool",
    "check_range",
    "differing_fields",
    "hash63",
    "hookimpl",
    "neighbour_votes",
    "no_files",
    "normal",
    "pool_for",
    "pool_map",
    "pooled_shape",
]
