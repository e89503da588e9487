"""Limits on the size of models that are built from stored files, and the frozen encoders' weights in them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from commlearn.batch import Spec
from commlearn.config.build import build_method
from commlearn.config.configuration import Experiment, to_mapping
from commlearn.errors import RunError
from commlearn.methods.base import Method
from commlearn.models.encoders.pretrained import frozen_encoders
from commlearn.models.features import FeatureBlocks

TIMES, SPARE = 2, 1_000_000  # most numbers to build: TIMES as many as stored, plus SPARE
PARTS = 1_000  # most tensors to build: TIMES as many as stored, plus PARTS
MOST = 10_000_000  # largest value of any single size in a configuration


def stored_method(
    experiment: Experiment,
    specs: Mapping[str, Spec],
    state: Mapping[str, Any] | None,
    stored: Iterable[Tensor],
    where: str,
    features: Callable[[], FeatureBlocks | None] = lambda: None,
    modules: Mapping[str, nn.Module] | None = None,
) -> tuple[Method, FeatureBlocks | None]:
    """Build the method that files describe and its fixed features; stored weights replace its own later."""
    mapping = to_mapping(experiment)
    shapes = [spec.shape for spec in specs.values()]
    for value in _whole_numbers([mapping["model"], mapping["method"], shapes, _sizes(state)]):
        if value > MOST:
            raise RunError(
                f"{where} describes a model with a size of {Decimal(value):.1e}; the limit is {MOST:,}. "
                "It is damaged, or not what it claims to be."
            )
    blocks = features()
    with no_larger_than(stored, where):
        method = build_method(experiment, specs, state, fresh=False, features=blocks, modules=modules)
    return method, blocks


def _sizes(state: Mapping[str, Any] | None) -> Any:
    """Return what was learned without pretrained encoders, which have their own configurations."""
    parts = [part for part in (state or {}).values() if isinstance(part, Mapping)]
    return [{name: value for name, value in part.items() if name != "encoder"} for part in parts]


def _whole_numbers(values: Any) -> Iterator[int]:
    if isinstance(values, int):
        yield values
    elif isinstance(values, Mapping):
        yield from _whole_numbers(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _whole_numbers(value)


@contextmanager
def no_larger_than(stored: Iterable[Tensor], where: str) -> Iterator[None]:
    """Refuse to build far more than was stored: a million layers would take hours, or all memory."""
    sizes = [tensor.numel() for tensor in stored if isinstance(tensor, Tensor)]
    number_limit, tensor_limit = TIMES * sum(sizes) + SPARE, TIMES * len(sizes) + PARTS
    thread, numbers, tensors = threading.get_ident(), 0, 0

    def check(module: nn.Module, name: str, parameter: Tensor | None) -> None:
        nonlocal numbers, tensors
        if parameter is None or threading.get_ident() != thread:
            return
        numbers, tensors = numbers + parameter.numel(), tensors + 1
        if numbers > number_limit or tensors > tensor_limit:  # its memory is allocated, but not used yet
            raise RunError(
                f"{where} describes a model of more than {min(numbers, number_limit):,} numbers in "
                f"{tensors:,} tensors, but holds {sum(sizes):,} in {len(sizes):,}. It is damaged, or not "
                "what it claims to be."
            )

    hook = register_module_parameter_registration_hook(check)
    try:
        yield
    finally:
        hook.remove()


FROZEN = "pretrained."  # prefix of names of tensors that are not part of the method's own state


def frozen_tensors(method: Method) -> dict[str, Tensor]:
    """Return the weights of every frozen encoder, under names that no other tensor has."""
    return {
        f"{FROZEN}{name}.{key}": tensor
        for name, encoder in frozen_encoders(method.encoders).items()
        for key, tensor in encoder.backbone.state_dict().items()
    }


def adopt_frozen(method: Method, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Load the weights that `frozen_tensors` named into frozen encoders; return the other tensors."""
    remaining = dict(tensors)
    for name, encoder in frozen_encoders(method.encoders).items():
        prefix = f"{FROZEN}{name}."
        adopted = {
            key.removeprefix(prefix): remaining.pop(key) for key in [*remaining] if key.startswith(prefix)
        }
        with no_larger_than(adopted.values(), where):
            encoder.adopt(adopted)
    return remaining
