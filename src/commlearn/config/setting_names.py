"""Settings by the last part of their name: `epochs` is `training.epochs`."""

from __future__ import annotations

import inspect
from dataclasses import fields

from commlearn.config.configuration import Experiment, Model, Training
from commlearn.errors import nearest
from commlearn.methods import METHODS

LONE_SETTINGS = {*(field.name for field in fields(Experiment)), "base", "stream", "validation", "test"}
"""Settings that belong to no section."""
CALLED = {
    "lr": "training.learning_rate",
    "wd": "training.weight_decay",
    "bs": "training.batch_size",
    "gpus": "training.devices",
    "tau": "method.temperature",
    "dim": "model.width",
}
"""Names that other programs use for some settings."""
BUILT = {"encoders", "width", "fusion"}  # arguments of a method that are not settings


def setting_like(word: str) -> str | None:
    """Return the setting that a word without a section means, by its exact name or a similar one.

    Example:
        >>> setting_like("batch-size"), setting_like("temprature"), setting_like("colour")
        ('training.batch_size', 'method.temperature', None)
    """
    names = {field.name: f"training.{field.name}" for field in fields(Training)}
    names |= {field.name: f"model.{field.name}" for field in fields(Model)}
    for method in METHODS.values():
        options = inspect.signature(method.build).parameters.keys() - BUILT
        names |= {name: f"method.{name}" for name in options - names.keys()}
    name = word.replace("-", "_")
    match = nearest(name, names)
    similar = match if match and (name in match or match in name or match[:3] == name[:3]) else None
    return CALLED.get(name) or names.get(name) or (names[similar] if similar else None)
