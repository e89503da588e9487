"""The fixed features of several modalities side by side, as they are appended to a learned embedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from commlearn.batch import Spec, View
from commlearn.errors import DAMAGED
from commlearn.models.features.fixed import FixedFeatures, feature_column
from commlearn.models.features.raw import FeatureValues, Learned, some_places
from commlearn.records import Records
from commlearn.seeds import numpy_generator

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, float("inf"))  # times dimensions / rows; inf guesses zero
HELD_OUT = 3  # one row in this many is held out to choose among them


class ExpectedFeatures(Learned):
    """Best linear guess of a modality's features from those of the modalities that are present.

    Its penalty is chosen on held-out training rows, for each modality given all the others. If nothing
    better is found, the guess is zero, the average record.

    Example:
        >>> rows = torch.randn(90, 2, generator=torch.Generator().manual_seed(0))
        >>> parts = {"a": rows, "b": rows.sum(dim=1, keepdim=True) / 2**0.5}
        >>> expected = ExpectedFeatures({"a": 2, "b": 1}).learn(parts, {}, 0)
        >>> filled = expected({"a": rows, "b": torch.zeros(90, 1)}, {"b": torch.zeros(90, dtype=torch.bool)})
        >>> bool((filled["b"] - parts["b"]).abs().mean() < 0.1)
        True
    """

    second: Tensor
    rows: Tensor
    ridge: Tensor

    def __init__(self, dims: Mapping[str, int]) -> None:
        super().__init__()
        self.dims = dict(dims)
        self.weights: dict[tuple[str, tuple[str, ...]], Tensor] = {}  # of guesses: modality, then those given
        self.store(
            second=torch.zeros(0, 0),  # (dim, dim): mean products of all features
            rows=torch.tensor(1.0),  # number of rows that they are means of
            ridge=torch.full((len(dims),), torch.inf),  # (modalities,): penalty of each
        )

    @torch.no_grad()
    def learn(self, parts: Mapping[str, Tensor], present: Mapping[str, Tensor], seed: int) -> Self:
        """Estimate moments and choose penalties on training rows."""
        values = torch.cat([parts[name] for name in self.dims], dim=1).cpu().double()  # (rows, dim)
        masks = torch.stack([_mask(parts, present, name) for name in self.dims], dim=1).cpu()
        order = numpy_generator(seed, "held out").permutation(len(values))
        held_out = torch.from_numpy(order % HELD_OUT == 0)
        second, count = self._moments(values[~held_out], masks[~held_out]), max(int((~held_out).sum()), 1)
        ridges = []
        for name in self.dims:
            validation = values[held_out & masks.all(dim=1)]
            ridges.append(self._best(name, second, count, validation) if len(validation) > 1 else torch.inf)
        self.store(
            second=self._moments(values, masks).float(),
            rows=torch.tensor(float(len(values))),
            ridge=torch.tensor(ridges),
        )
        self.weights = {}
        return self

    def forward(self, parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the features, with guesses in place of those that are absent."""
        masks = torch.stack([_mask(parts, present, name) for name in self.dims], dim=1)  # (batch, modalities)
        filled = {name: parts[name].clone() for name in self.dims}
        patterns, inverse = torch.unique(masks, dim=0, return_inverse=True)
        for number, pattern in enumerate(patterns.tolist()):
            inputs = tuple(name for name, available in zip(self.dims, pattern, strict=True) if available)
            records = inverse == number
            for name, available in zip(self.dims, pattern, strict=True):
                if not available and inputs:
                    input_values = torch.cat([parts[other][records] for other in inputs], dim=1)
                    filled[name][records] = input_values @ self._weights(name, inputs).to(input_values)
        return filled

    def _weights(self, name: str, inputs: tuple[str, ...]) -> Tensor:
        """Return the weights by which a guess multiplies the features of its inputs, (inputs, dim)."""
        if (name, inputs) not in self.weights:
            ridge = float(self.ridge[list(self.dims).index(name)])
            columns, wanted = self._places(inputs), self._places([name])
            second = self.second.cpu().double()
            weights = torch.zeros(len(columns), len(wanted), dtype=torch.float32)
            if ridge != torch.inf:
                moments = second[columns][:, columns]  # (inputs, inputs)
                moments.diagonal().add_(ridge * moments.trace() / float(self.rows) + 1e-9)
                weights = torch.linalg.solve(moments, second[columns][:, wanted]).float()
            self.weights[name, inputs] = weights
        return self.weights[name, inputs]

    def _best(self, name: str, second: Tensor, rows: int, validation: Tensor) -> float:
        """Return the penalty with the smallest held-out error."""
        inputs = [other for other in self.dims if other != name]
        if not inputs:
            return torch.inf
        columns, wanted = self._places(inputs), self._places([name])
        input_values, target = validation[:, columns], validation[:, wanted]
        variances, axes = torch.linalg.eigh(second[columns][:, columns])
        rotated = axes.T @ second[columns][:, wanted]  # (inputs, dim)
        scale = variances.clamp(min=0).mean() * len(columns) / rows
        errors = []
        for ridge in RIDGES:
            weights = torch.zeros_like(rotated)
            if ridge != torch.inf:
                weights = axes @ (rotated / (variances.clamp(min=0) + ridge * scale + 1e-9)[:, None])
            errors.append((input_values @ weights - target).square().mean())
        return RIDGES[int(torch.stack(errors).argmin())]

    def _moments(self, values: Tensor, masks: Tensor) -> Tensor:
        """Compute second moments over rows that have both modalities, projected to positive semidefinite."""
        counts = (masks.double().T @ masks.double()).clamp(min=1)  # (modalities, modalities)
        sizes = torch.tensor(list(self.dims.values()))
        second = values.T @ values / counts.repeat_interleave(sizes, 0).repeat_interleave(sizes, 1)
        if masks.all():
            return second
        variances, axes = torch.linalg.eigh(second)
        return (axes * variances.clamp(min=0)) @ axes.T

    def _places(self, names: Sequence[str]) -> Tensor:
        """Return the column numbers of these modalities' features among all."""
        sizes = list(self.dims.values())
        places = dict(zip(self.dims, torch.arange(sum(sizes)).split(sizes), strict=True))
        return torch.cat([places[name] for name in names])

    def _load_from_state_dict(self, state: Mapping[str, Any], prefix: str, *args: Any) -> None:
        self.weights = {}
        super()._load_from_state_dict(state, prefix, *args)


def _mask(parts: Mapping[str, Tensor], present: Mapping[str, Tensor], name: str) -> Tensor:
    """Return which rows have the modality, (rows,) bool."""
    if name in present:
        return present[name]
    return torch.ones(len(parts[name]), dtype=torch.bool, device=parts[name].device)


EXPECTED_ROWS = 2048  # most training rows used to learn what to expect of an absent modality


class FeatureBlocks(nn.Module):
    """Features of all modalities in schema order, (batch, dim); the width never depends on what is present.

    Those of a modality that a record lacks, or that is not requested, are guessed from its other modalities;
    they are the mean if those carry no information about it. With `networks`, outputs of published networks
    are included if their weights are installed.

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
        """The fixed features of each modality, by name."""
        return cast("dict[str, FixedFeatures]", dict(self.blocks.items()))

    @property
    def dims(self) -> dict[str, int]:
        """Number of dimensions of each modality's features."""
        return {name: block.dim for name, block in self.each.items()}

    @property
    def dim(self) -> int:
        """Number of dimensions of all modalities' features together."""
        return sum(self.dims.values())

    def names(self) -> list[str]:
        """Return the name of each dimension."""
        return [f"{name}_feature{index}" for name, dim in self.dims.items() for index in range(dim)]

    def learn(self, records: Records, seed: int, tell: Callable[[str], None] = lambda line: None) -> Self:
        """Learn what is needed from training records, without labels."""
        for name, block in self.each.items():
            report = partial(lambda name, line: tell(f"{name}: {line}"), name)
            block.learn(records.columns[name], seed, tell=report)
        device = next(self.buffers()).device
        sample = records.choose(some_places(len(records), EXPECTED_ROWS, numpy_generator(seed, "expected")))
        parts, present = {}, {}
        for name, block in self.each.items():
            values = feature_column(block, sample.columns[name]).take(np.arange(len(sample)))
            parts[name], present[name] = values.values, values.presence
        self.expected = ExpectedFeatures(self.dims).learn(parts, present, seed).to(device)
        return self

    @torch.no_grad()
    def forward(self, view: View, modalities: Sequence[str] | None = None) -> Tensor:
        """Return the features of a batch of records, (batch, dim)."""
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
        """Return the features as a safetensors file, which holds numbers and names and cannot run code."""
        return save({name: tensor.cpu().contiguous() for name, tensor in self.state_dict().items()})

    def from_bytes(self, content: bytes) -> Self:
        """Load what `to_bytes` returned.

        Raises:
            ValueError: the bytes are not such a file, or belong to other modalities.
        """
        try:
            tensors = load(content)
            for name, block in self.each.items():
                prefix = f"blocks.{name}."
                stored = [key for key in tensors if key.startswith(prefix)]
                block.load_state_dict({key.removeprefix(prefix): tensors[key] for key in stored})
            self.expected = ExpectedFeatures(self.dims)
            self.load_state_dict(tensors)
            second, ridge = self.expected.second, self.expected.ridge
            if second.shape != (self.dim, self.dim) or len(ridge) != len(self.dims):
                raise ValueError("its estimates for absent modalities do not match the features of these")
            if not second.isfinite().all() or not (ridge >= 0).all() or not self.expected.rows >= 1:
                raise ValueError("its estimates for absent modalities are not finite")
            blank = {name: block.raw.blank() for name, block in self.each.items()}
            finite = bool(self(blank).isfinite().all())
        except (*DAMAGED, RuntimeError, SafetensorError) as problem:
            reason = str(problem).splitlines()[-1].strip() if str(problem) else type(problem).__name__
            raise ValueError(f"it does not contain features of these modalities ({reason})") from problem
        if not finite:
            raise ValueError("its features are not finite")
        return self
