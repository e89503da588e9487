"""CoMM's loss for your own training loop: projections in, the loss and its terms out."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from commlearn.errors import ConfigurationError, unknown
from commlearn.methods.base import term_weights, weighted_mean
from commlearn.methods.rows import Rows, gather
from commlearn.models.heads import TemperatureChoice, temperature_of, term_temperatures
from commlearn.objectives import comm_terms


class CoMMLoss(nn.Module):
    """CoMM's loss: every subset of modalities must agree with the fusion of all of them in the other view.

    The term of a subset s is 1/2 [NTX(first[s], second[all]) + NTX(second[s], first[all])], and the loss is
    their weighted mean. If several processes train together, the records of all processes are each other's
    negatives.

    Args:
        temperature: a number; "learned" makes it a parameter, which you must pass to the optimizer;
            `{"start": 0.5, "end": 0.1}` changes it with the training's progress;
            `{"full": 0.5, "single": 0.1}` sets one for the full term and one for the single modalities.
        weights: weights of the terms by name, such as `{"image+text": 2.0}`; 1 by default.

    Example:
        >>> import torch
        >>> draw = torch.Generator().manual_seed(0)
        >>> first = {name: torch.randn(8, 4, generator=draw) for name in ("image", "text", "image+text")}
        >>> second = {name: rows + 0.1 for name, rows in first.items()}
        >>> loss, terms = CoMMLoss()(first, second)
        >>> sorted(terms), bool(loss.isclose(sum(terms.values()) / 3))
        (['image', 'image+text', 'text'], True)
    """

    def __init__(
        self,
        temperature: TemperatureChoice = 0.1,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature_of(temperature, where="temperature")
        self.weights = dict(weights or {})

    def forward(
        self,
        first: Mapping[str, Tensor],
        second: Mapping[str, Tensor],
        present: Mapping[str, Tensor] | None = None,
        groups: Tensor | None = None,
        progress: float = 0.0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, and its terms by name.

        Args:
            first: projections of the first view, (batch, dim) each: of each modality and of all together,
                as in `{"image": ..., "text": ..., "image+text": ...}`. Further subsets, such as
                `image+text` of three modalities, make further terms.
            second: the same for the second view.
            present: for modalities that some records lack, which records have them, (batch,) bool each.
            groups: group of each record, (batch,) integers; records of one group are not each other's
                negatives.
            progress: share of the training that is done, 0 to 1; a changing temperature follows it.
        """
        subsets = {name: tuple(name.split("+")) for name in first}
        modalities = {part for subset in subsets.values() for part in subset}
        full = next((subset for subset in subsets.values() if modalities == {*subset}), None)
        if full is None or {*first} != {*second}:
            full_name = "+".join(dict.fromkeys(part for subset in subsets.values() for part in subset))
            raise ConfigurationError(
                f"The first view has projections of {', '.join(first)}, and the second of "
                f"{', '.join(second)}; both need the same, and one of all modalities, '{full_name}'."
            )
        count = len(next(iter(first.values())))
        for name, mask in (present or {}).items():
            if name not in modalities:
                raise ConfigurationError(f"present: {unknown('modality', name, modalities)}")
            if mask.shape != (count,):
                raise ConfigurationError(
                    f"present of '{name}' has shape {tuple(mask.shape)}; expected one bool per record, "
                    f"({count},)."
                )
        rows = Rows({}, dict(present or {}), groups=groups).apply(gather)
        all_first, all_second = (
            {subsets[name]: gather(part) for name, part in view.items()} for view in (first, second)
        )
        terms = comm_terms(
            all_first,
            all_second,
            full,
            term_temperatures(self.temperature, all_first, full, progress),
            rows.masks(subset for subset in subsets.values() if subset != full),
            rows.groups,
        )
        loss = weighted_mean(terms, term_weights(self.weights, list(terms)))
        return loss, {name: terms[subset] for name, subset in subsets.items()}
