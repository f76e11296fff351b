"""The probes pass every conformance check."""

from __future__ import annotations

from probebench.testing import parametrize_with_checks


@parametrize_with_checks(
    [
        "knn",
        "knn:distance=euclidean,vote=uniform",
        "linear",
        "linear:inputs=raw,schedule=constant",
        "linear:inputs=batchnorm",
        "linear:optimizer=sgd,momentum=0.9,schedule=step",
        "logreg",
        "logreg:inputs=raw",
        "ridge",
        "ridge:inputs=raw",
        "fewshot",
        "fewshot:probe=knn:ks=1,shots=20",
        "mlp:widths=16,learning_rates=2e-2,batch_size=64,epochs=8",
        "cnn:widths=16,learning_rates=2e-2,batch_size=64,epochs=6",
        "attention:width=16,heads=2,blocks=1,learning_rates=1e-2,batch_size=64,epochs=6",
        "finetune:learning_rates=1e-2,epochs=2,batch_size=8",
    ]
)
def test_conformance(subject, check):
    check(subject)
