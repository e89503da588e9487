"""Every arm of every ablation trains: tiny images, one epoch."""

from __future__ import annotations

import pytest

from commlearn.config.build import read_data
from commlearn.config.configuration import read_experiment, recipes
from commlearn.training.train import train

TINY = {
    "data.size": 24,
    "data.train_pairs": 32,
    "training.epochs": 1,
    "training.batch_size": 16,
    "training.threads": 1,
    "model.width": 16,
}


@pytest.fixture(scope="module")
def data():
    return read_data(read_experiment("trifeature-quick", TINY, variant="biased"))


@pytest.mark.parametrize("name", [name for name in recipes() if name.startswith("ablation-")])
def test_every_arm_trains(name, data, tmp_path):
    for variant in read_experiment(name).variants:
        if variant.endswith("-biased"):
            run = train(read_experiment(name, TINY, variant=variant), tmp_path / variant, data=data)
            assert run.step == 2
            (entry,) = run.folder.metrics()
            assert entry["terms"]
            assert entry["diagnostics.rank"]["fused"] >= 1
