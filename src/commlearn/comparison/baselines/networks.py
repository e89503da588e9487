"""CoMM's network without its training, and with labels instead: a floor and a ceiling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from commlearn.comparison.baselines.base import Given
from commlearn.config.build import build_method, learned_features
from commlearn.errors import ConfigurationError
from commlearn.methods.base import Method
from commlearn.models.features import FeatureBlocks
from commlearn.records import Records
from commlearn.trained.embed import embed
from commlearn.trained.model import Trained
from commlearn.training.finetune import FineTuning, finetune


def random_network(given: Given, parts: Sequence[Records]) -> list[np.ndarray]:
    """Embeddings by the weights that the seed starts with."""
    method = _fresh(given, learned_features(given.experiment, given.data)).eval()
    return [embed(method, records) for records in parts]


def supervised(given: Given, parts: Sequence[Records]) -> list[np.ndarray]:
    """The same network trained on the labels of one target for as many epochs, unless validation ends it."""
    if len(given.targets) != 1:
        raise ConfigurationError(f"supervised learns from one target; got {', '.join(given.targets)}.")
    training = given.experiment.training
    settings = FineTuning(
        given.targets[0],
        epochs=training.epochs,
        patience=max(5, training.epochs // 5),
        learning_rate=training.learning_rate,
        batch_size=training.batch_size,
        weight_decay=training.weight_decay,
        seed=given.experiment.seed,
    )
    features = learned_features(given.experiment, given.data)
    start = Trained(
        experiment=given.experiment,
        method=_fresh(given, features),
        specs=given.data.train.specs,
        features=features,
    )
    run = finetune(
        start, settings, given.folder / "network", given.data, resume=True, progress=given.progress
    )
    return [embed(run, records, blocks="learned") for records in parts]


def _fresh(given: Given, features: FeatureBlocks | None) -> Method:
    return build_method(given.experiment, given.data.train.specs, features=features)
