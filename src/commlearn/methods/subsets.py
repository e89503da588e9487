"""Which subsets of the modalities are trained, by name, and what each one's term weighs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from commlearn.batch import Subset, subset_name
from commlearn.errors import ConfigurationError, unknown

UP_TO = re.compile(r"up_to_([1-9][0-9]*)")


def choose_subsets(choice: str, modalities: Subset) -> tuple[Subset, ...]:
    """The subsets that a name stands for.

    Args:
        choice: `each_and_all` (the paper's), `each`, `all`, `every` (all that there are), or `up_to_2`
            (all of at most 2 modalities, and all of them together).
        modalities: in schema order.

    Example:
        >>> [subset_name(subset) for subset in choose_subsets("up_to_2", ("a", "b", "c"))]
        ['a', 'b', 'c', 'a+b', 'a+c', 'b+c', 'a+b+c']
    """
    if match := UP_TO.fullmatch(choice):
        return _up_to(int(match[1]), modalities)
    choices = {
        "each_and_all": single_and_all(modalities),
        "each": tuple((name,) for name in modalities),
        "all": (modalities,),
        "every": _up_to(len(modalities), modalities),
    }
    if choice not in choices:
        raise ConfigurationError(f"method.subsets: {unknown('choice', choice, [*choices, 'up_to_2'])}")
    return choices[choice]


def single_and_all(modalities: Subset) -> tuple[Subset, ...]:
    """The paper's n + 1 subsets.

    Example:
        >>> single_and_all(("image", "text"))
        (('image',), ('text',), ('image', 'text'))
    """
    singles = tuple((name,) for name in modalities)
    return singles if len(modalities) == 1 else (*singles, modalities)


def all_but_one(modalities: Subset) -> tuple[Subset, ...]:
    """What is left of the modalities when one is missing.

    Example:
        >>> all_but_one(("a", "b", "c"))
        (('b', 'c'), ('a', 'c'), ('a', 'b'))
        >>> all_but_one(("a",))
        ()
    """
    rests = [tuple(other for other in modalities if other != name) for name in modalities]
    return tuple(rest for rest in rests if rest)


def _up_to(size: int, modalities: Subset) -> tuple[Subset, ...]:
    chosen = [subset for k in range(1, size + 1) for subset in combinations(modalities, k)]
    return tuple(dict.fromkeys([*chosen, modalities]))


def term_weights(weights: Mapping[str, float], subsets: Sequence[Subset]) -> dict[Subset, float]:
    """The weight of each subset's term: as given by its name, such as `image+text`, else 1."""
    names = {subset_name(subset): subset for subset in subsets}
    for name, weight in weights.items():
        if name not in names:
            raise ConfigurationError(f"method.weights: {unknown('term', name, names)}")
        if not float(weight) >= 0:
            raise ConfigurationError(f"method.weights.{name} is {weight}; give 0 or more.")
    chosen = {subset: float(weights.get(name, 1.0)) for name, subset in names.items()}
    if not sum(chosen.values()) > 0:
        raise ConfigurationError("method.weights are all 0; give at least one term a weight above 0.")
    return chosen


def weighted_mean(terms: Mapping[Subset, Tensor], weights: Mapping[Subset, float]) -> Tensor:
    """The mean of the terms, each counted as often as its weight says."""
    total = sum(weights[subset] for subset in terms)
    return torch.stack([weights[subset] / total * term for subset, term in terms.items()]).sum()
