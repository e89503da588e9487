"""Every number of a decomposition by a key that says what it is."""

from __future__ import annotations

from typing import NamedTuple

from commlearn.evaluation.interactions.estimate import Measured, Quantity, atoms_of_two
from commlearn.evaluation.interactions.posteriors import Subset

__all__ = ["ATOMS", "QuantityKey", "information_of", "quantities", "subset_name"]

ATOMS = ("redundant", "unique1", "unique2", "synergistic")


class QuantityKey(NamedTuple):
    """What a number is, and of which modalities.

    Attributes:
        part: "information", an atom of two, "spectrum 1", ..., "unique", "non_exclusive" or "shapley".
        subsets: one subset of the modalities, or the two that an atom compares.
    """

    part: str
    subsets: tuple[Subset, ...]

    @property
    def of(self) -> str:
        """The subsets, to be read."""
        return " | ".join(map(subset_name, self.subsets))

    def __str__(self) -> str:
        return f"{self.part}: {self.of}"


def subset_name(subset: Subset) -> str:
    """The names, to be read; one with a separator in it is quoted, so that no two subsets read the same.

    Example:
        >>> subset_name(("a", "b + c"))
        "a + 'b + c'"
    """
    return " + ".join(repr(name) if set(name) & set("+|'\"") else name for name in subset)


def information_of(subset: Subset) -> QuantityKey:
    """Of I(A; Y)."""
    return QuantityKey("information", (subset,))


def quantities(measured: Measured) -> dict[QuantityKey, Quantity]:
    """Every number, in the order in which they are listed."""
    whole = (measured.names,)
    numbers = {information_of(subset): value for subset, value in measured.ladder.items()}
    for pair in measured.pairs:
        numbers |= {QuantityKey(part, pair): value for part, value in atoms_of_two(measured, *pair).items()}
    for order, value in enumerate(measured.spectrum, 1):
        numbers[QuantityKey(f"spectrum {order}", whole)] = value
    numbers |= {QuantityKey("unique", ((name,),)): value for name, value in measured.unique.items()}
    numbers[QuantityKey("non_exclusive", whole)] = measured.non_exclusive
    return numbers | {QuantityKey("shapley", ((name,),)): value for name, value in measured.shapley.items()}
