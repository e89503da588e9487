"""Cross+Self (SLIP-like): align modalities with each other, and each with its own augmented version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from torch import Tensor, nn

from commlearn.batch import subset_name
from commlearn.errors import ConfigurationError, unknown
from commlearn.methods.base import Views
from commlearn.methods.separate import Contrasts, SeparateHeads, mean_of
from commlearn.models.heads import projection_head


class CrossSelf(SeparateHeads):
    """NT-Xent across modalities plus half the sum of NT-Xent within. Reaches shared and unique.

    Args:
        encoders: one for each modality.
        heads: one for each modality, into the space of the loss.
        temperature: of every contrast.
        within: modalities that are contrasted with themselves; all if not given. Naming the images
            alone makes it SLIP with a fixed temperature.

    Example:
        >>> import torch
        >>> from commlearn.batch import Modality, subset_name
        >>> from commlearn.models.encoders import ENCODERS
        >>> encoders = {name: ENCODERS["linear"]((3,), width=8) for name in ("left", "right")}
        >>> view = {name: Modality(torch.ones(4, 3)) for name in encoders}
        >>> method = CrossSelf.build(encoders, width=8)
        >>> method.embed(view).shape, method.embed(view, ["left"]).shape
        (torch.Size([4, 16]), torch.Size([4, 8]))
    """

    views = Views(augmented=2)

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        heads: Mapping[str, nn.Module],
        temperature: float = 0.1,
        within: Sequence[str] | None = None,
    ) -> None:
        super().__init__(encoders, heads, temperature)
        for name in within or ():
            if name not in self.encoders:
                raise ConfigurationError(f"method.within: {unknown('modality', name, self.modalities)}")
        self.within = tuple(self.modalities if within is None else within)

    @classmethod
    def build(
        cls,
        encoders: Mapping[str, nn.Module],
        width: int,
        temperature: float = 0.1,
        within: list[str] | None = None,
    ) -> CrossSelf:
        """Cross+Self with a three-layer head for each modality."""
        return cls(encoders, {name: projection_head(width) for name in encoders}, temperature, within)

    def contrasts(self, views: Sequence[Mapping[str, Tensor]]) -> Contrasts:
        first, second = views
        pairs: Contrasts = {
            (one, other): [(view[one], view[other]) for view in views]
            for one, other in combinations(self.modalities, 2)
        }
        return pairs | {(name,): [(first[name], second[name])] for name in self.within}

    def combine(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Mean over pairs of modalities + 1/2 the sum over modalities."""
        names = [subset_name(pair) for pair in combinations(self.modalities, 2)]
        cross = mean_of([terms[name] for name in names if name in terms], self)
        return cross + sum((terms[name] / 2 for name in self.within if name in terms), 0.0 * cross)
