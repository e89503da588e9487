"""FSDP: errors before anything is sharded. test_ranks and test_launchers compare what ranks compute."""

from __future__ import annotations

import pytest

from commlearn.batch import Spec
from commlearn.config.configuration import Training, read_experiment
from commlearn.errors import ConfigurationError
from commlearn.methods.comm import CoMM
from commlearn.models.build import build_encoders
from commlearn.training.descent import Player
from commlearn.training.sharding import strategy_of


def test_strategies_are_known_by_name():
    assert strategy_of(Training(strategy="auto", devices=2)) == "auto"
    assert type(strategy_of(Training(strategy="ddp"))).__name__ == "DDPStrategy"
    assert type(strategy_of(Training(strategy="fsdp", devices=2))).__name__ == "ModelParallelStrategy"
    with pytest.raises(ConfigurationError, match="training.strategy is 'deepspeed'; give auto, ddp or fsdp"):
        read_experiment("trifeature-quick", {"training.strategy": "deepspeed"})


def test_a_learned_temperature_cannot_be_parted():
    encoders = build_encoders({"a": Spec("vector", (3,)), "b": Spec("vector", (2,))}, 8, {})
    player = Player(CoMM.build(encoders, 8, temperature="learned"))
    shard = strategy_of(Training(strategy="fsdp"))._parallelize_fn
    with pytest.raises(ConfigurationError, match="temperature.log is a scalar.*strategy to ddp"):
        shard(player, None)
