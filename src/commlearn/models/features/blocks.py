"""The fixed features of several modalities side by side, as they stand beside a learned embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from commlearn.data.batch import Modality, View
from commlearn.data.records import Records, Spec, blank_values
from commlearn.models.features.base import FeatureValues
from commlearn.models.features.fixed import FixedFeatures

__all__ = ["FeatureBlocks"]

DAMAGED = (SafetensorError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


class FeatureBlocks(nn.Module):
    """Features of all modalities in schema order, (batch, dim): the width never depends on what is there.

    A modality that a record lacks, or that is not asked for, has zeros: the features of an average record.

    Args:
        specs: kind and shape of each modality that has features.

    Example:
        >>> import numpy as np
        >>> from commlearn.data.records import VectorColumn
        >>> rows = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
        >>> records = Records({"a": VectorColumn(rows), "b": VectorColumn(rows[:, :2])})
        >>> blocks = FeatureBlocks(records.specs).learn(records, 0)
        >>> blocks(records.view(slice(0, 4)), ["b"])[:, :3].any().item(), blocks.names()
        (False, ['a_feature0', 'a_feature1', 'a_feature2', 'b_feature0', 'b_feature1'])
    """

    def __init__(self, specs: Mapping[str, Spec]) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({name: FixedFeatures(spec) for name, spec in specs.items()})
        self.eval()

    @property
    def each(self) -> dict[str, FixedFeatures]:
        """The features of each modality that has some."""
        return cast("dict[str, FixedFeatures]", dict(self.blocks.items()))

    @property
    def dims(self) -> dict[str, int]:
        """Dimensions of each modality's features."""
        return {name: block.dim for name, block in self.each.items()}

    @property
    def dim(self) -> int:
        """Dimensions of all modalities' features together."""
        return sum(self.dims.values())

    def names(self) -> list[str]:
        """What each dimension is called."""
        return [f"{name}_feature{place}" for name, dim in self.dims.items() for place in range(dim)]

    def learn(self, records: Records, seed: int) -> Self:
        """Take what is needed from training records, without labels.

        Args:
            records: with a column for each modality.
            seed: same records and same seed, same features.
        """
        for name, block in self.each.items():
            block.learn(records.columns[name], seed)
        return self

    @torch.no_grad()
    def forward(self, view: View, modalities: Sequence[str] | None = None) -> Tensor:
        """The features of a batch of records.

        Args:
            view: modalities of the same records, or the features of one; those that have none are left alone.
            modalities: which of them to use; all that are there if not given.
        """
        example = next(iter(view.values())).values
        parts = []
        for name, block in self.each.items():
            if name in view and (modalities is None or name in modalities):
                values = view[name]
                parts.append(values.values if isinstance(values, FeatureValues) else block(values))
            else:
                parts.append(torch.zeros(len(example), block.dim, device=example.device))
        return torch.cat(parts, dim=1)

    def to_bytes(self) -> bytes:
        """As a safetensors file, which holds numbers and names and cannot run anything."""
        return save({name: tensor.cpu().contiguous() for name, tensor in self.state_dict().items()})

    def from_bytes(self, content: bytes) -> Self:
        """Take what `to_bytes` wrote.

        Raises:
            ValueError: the bytes are something else, or belong to other modalities.
        """
        try:
            self.load_state_dict(load(content))
            blank = {name: Modality(blank_values(block.spec)) for name, block in self.each.items()}
            whole = bool(self(blank).isfinite().all())
        except DAMAGED as problem:
            told = str(problem).splitlines()[-1].strip() if str(problem) else type(problem).__name__
            raise ValueError(f"it holds no features of these modalities ({told})") from problem
        if not whole:
            raise ValueError("its features are not finite")
        return self
