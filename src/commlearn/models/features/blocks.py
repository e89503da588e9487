"""The fixed features of several modalities side by side, as they stand beside a learned embedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Self, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from commlearn.batch import Spec, View
from commlearn.models.features.base import FeatureValues, some_places
from commlearn.models.features.column import feature_column
from commlearn.models.features.expected import ExpectedFeatures
from commlearn.models.features.fixed import FixedFeatures
from commlearn.records import Records
from commlearn.seeds import numpy_generator

EXPECTED_ROWS = 2048  # training rows that say what to expect of an absent modality, at most
DAMAGED = (SafetensorError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


class FeatureBlocks(nn.Module):
    """Features of all modalities in schema order, (batch, dim): the width never depends on what is there.

    Those of a modality that a record lacks, or that is not asked for, are what its other modalities let
    expect; the mean if they say nothing of it.

    Args:
        specs: kind and shape of each modality that has features.
        networks: outputs of published networks are among them, where their weights are installed.

    Example:
        >>> import numpy as np
        >>> from commlearn.records import VectorColumn
        >>> rows = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
        >>> records = Records({"a": VectorColumn(rows), "b": VectorColumn(rows[:, :2])})
        >>> blocks = FeatureBlocks(records.specs).learn(records, 0)
        >>> blocks(records.view(slice(0, 4)), ["b"]).shape, blocks.names()
        (torch.Size([4, 5]), ['a_feature0', 'a_feature1', 'a_feature2', 'b_feature0', 'b_feature1'])
    """

    def __init__(self, specs: Mapping[str, Spec], networks: bool = True) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({name: FixedFeatures(spec, networks) for name, spec in specs.items()})
        self.expected = ExpectedFeatures(self.dims)
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

    def blank(self) -> View:
        """A record that says nothing, to try a network with."""
        return {name: block.raw.blank() for name, block in self.each.items()}

    def learn(self, records: Records, seed: int, tell: Callable[[str], None] = lambda line: None) -> Self:
        """Take what is needed from training records, without labels.

        Args:
            records: with a column for each modality.
            seed: same records and same seed, same features.
            tell: takes a line on the features of each modality where they depend on what is installed.
        """
        for name, block in self.each.items():
            block.learn(records.columns[name], seed, tell=partial(_named, tell, name))
        device = next(self.buffers()).device
        some = records.choose(some_places(len(records), EXPECTED_ROWS, numpy_generator(seed, "expected")))
        parts, present = {}, {}
        for name, block in self.each.items():
            values = feature_column(block, some.columns[name]).take(np.arange(len(some)))
            parts[name] = values.values
            if values.present is not None:
                present[name] = values.present
        self.expected = ExpectedFeatures(self.dims).learn(parts, present, seed).to(device)
        return self

    @torch.no_grad()
    def forward(self, view: View, modalities: Sequence[str] | None = None) -> Tensor:
        """The features of a batch of records.

        Args:
            view: modalities of the same records, or the features of one; those that have none are left alone.
            modalities: which of them to use; all that are there if not given.
        """
        example = next(iter(view.values())).values
        parts, present = {}, {}
        for name, block in self.each.items():
            if name in view and (modalities is None or name in modalities):
                values = view[name]
                parts[name] = values.values if isinstance(values, FeatureValues) else block(values)
                if values.present is not None:
                    present[name] = values.present
            else:
                parts[name] = torch.zeros(len(example), block.dim, device=example.device)
                present[name] = torch.zeros(len(example), dtype=torch.bool, device=example.device)
        if present:
            parts = self.expected(parts, present)
        return torch.cat(list(parts.values()), dim=1)

    def to_bytes(self) -> bytes:
        """As a safetensors file, which holds numbers and names and cannot run anything."""
        return save({name: tensor.cpu().contiguous() for name, tensor in self.state_dict().items()})

    def from_bytes(self, content: bytes) -> Self:
        """Take what `to_bytes` wrote.

        Raises:
            ValueError: the bytes are something else, or belong to other modalities.
        """
        try:
            tensors = load(content)
            for name, block in self.each.items():
                own = {key: tensors[key] for key in tensors if key.startswith(f"blocks.{name}.")}
                block.load_state_dict({key.removeprefix(f"blocks.{name}."): own[key] for key in own})
            self.expected = ExpectedFeatures(self.dims)
            self.load_state_dict(tensors)
            self._check_expected()
            whole = bool(self(self.blank()).isfinite().all())
        except DAMAGED as problem:
            reason = str(problem).splitlines()[-1].strip() if str(problem) else type(problem).__name__
            raise ValueError(f"it holds no features of these modalities ({reason})") from problem
        if not whole:
            raise ValueError("its features are not finite")
        return self

    def _check_expected(self) -> None:
        second, ridge = self.expected.second, self.expected.ridge
        if second.shape != (self.dim, self.dim) or len(ridge) != len(self.dims):
            raise ValueError("what it expects of absent modalities fits no features of these")
        if not second.isfinite().all() or not (ridge >= 0).all() or not self.expected.rows >= 1:
            raise ValueError("what it expects of absent modalities is not finite")


def _named(tell: Callable[[str], None], name: str, line: str) -> None:
    tell(f"{name}: {line}")
