"""Building blocks for features of every kind: modules that learn buffers, samples of records, directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from commlearn.batch import Modality, Spec, blank_values
from commlearn.models.features.networks import EXTRA, Published
from commlearn.records import Column, presence
from commlearn.seeds import torch_generator

DIMENSIONS = 256  # most dimensions of a block of features
BLOCK = 256  # records read at a time
QUANTILE_ROWS = 2048  # most training rows used to decide what is an outlier


@dataclass(frozen=True)
class FeatureValues(Modality):
    """Fixed features of a modality, (batch, dim), in place of the values that they were computed from.

    A view may hold them; they are not computed again.
    """


@dataclass(frozen=True)
class Texts(Modality):
    """Token ids of a batch of texts, and the texts themselves, for a network that has its own tokenizer."""

    texts: tuple[str, ...] = ()  # "" = absent

    def apply(self, change: Callable[[Tensor], Tensor]) -> Self:
        if not self.texts:
            return super().apply(change)
        rows = change(torch.arange(len(self.texts), device=self.values.device)).tolist()
        return replace(super().apply(change), texts=tuple(self.texts[row] for row in rows))


class Learned(nn.Module):
    """A module whose buffers get their sizes when it learns, or when it loads a state."""

    def store(self, **values: Tensor | np.ndarray) -> None:
        for name, value in values.items():
            self.register_buffer(name, torch.as_tensor(value))

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name, buffer in self.named_buffers(recurse=False):
            loaded = state_dict.get(prefix + name)
            if loaded is not None and loaded.shape != buffer.shape:
                self.register_buffer(name, torch.empty_like(loaded, device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Sample:
    """Some records of a column, read in blocks; records without the modality are left out."""

    def __init__(self, column: Column, rows: np.ndarray) -> None:
        self.column, self.spec, self.rows = column, column.spec, rows[presence(column, rows)]

    def __len__(self) -> int:
        return max(len(self.rows), 1)

    def __iter__(self) -> Iterator[Modality]:
        if not len(self.rows):  # no record has it: yield a blank one to take the sizes from
            yield Modality(blank_values(self.spec))
        for start in range(0, len(self.rows), BLOCK):
            yield replace(self.column.take(self.rows[start : start + BLOCK]), present=None)

    def some(self, count: int, generator: np.random.Generator) -> Sample:
        """Return at most `count` of the records, chosen at random."""
        return Sample(self.column, self.rows[some_places(len(self.rows), count, generator)])


class Raw(Learned):
    """Features of one kind as the literature defines them: any number of features, in any unit.

    Outputs of a network are included if its weights are installed when the features learn. The weights are
    not part of the state, but their SHA-256 is.
    """

    optional: tuple[str, ...] = ()  # buffers that not every state has; the first belongs to `instead`
    same_unit = False  # whether a feature with a larger deviation carries more information
    own, instead = "", ""  # descriptions of the features, and of those that replace a network's

    def __init__(self, spec: Spec, network: Published | None = None) -> None:
        super().__init__()
        self.spec, self.network = spec, network

    @property
    def softness(self) -> float:
        """Power of a component's deviation that gives its size: 1 = unchanged, 0 = whitened."""
        return 1.0

    @property
    def uses_network(self) -> bool:
        """Whether the features include those of a network; known once they have learned."""
        return self.holds("sha256")

    def holds(self, buffer: str) -> bool:
        return buffer in dict(self.named_buffers(recurse=False))

    def choose_network(self, sample: Sample) -> None:
        """Use the network's outputs from now on, if it reads such records and its weights are installed."""
        sha256 = None if self.network is None or not self.network_reads(sample) else self.network.sha256()
        if sha256 is not None:
            self.store(sha256=sha256)

    def network_reads(self, sample: Sample) -> bool:
        """Return whether the network can read these records."""
        return True

    @property
    def described(self) -> str:
        """Description of the features, without those of a network or in its place."""
        return self.own

    @property
    def source(self) -> str:
        """Description of the features and of how to get others; empty if there is no choice."""
        if not self.own or self.network is None:
            return ""
        if self.uses_network:
            return (
                f"{self.described}, and outputs of {self.network.name} (package {self.network.package}; "
                "model.networks=false leaves them out)"
            )
        suffix = f", and {self.instead}" if self.holds(self.optional[0]) else ""
        return (
            f"{self.described}{suffix}; outputs of {self.network.name} are not included ({EXTRA} adds them)"
        )

    def learn(self, sample: Sample, seed: int) -> None:
        """Learn what is needed from training rows; by default, nothing."""

    def forward(self, modality: Modality) -> list[Tensor]:
        """Return groups of features, each (batch, features); groups of any size count the same."""
        raise NotImplementedError

    def beside_network(self, own: Tensor, outputs: Tensor) -> list[Tensor]:
        """Return groups in which the network's outputs count twice as much as the kind's own features."""
        return [own, *outputs.chunk(2, dim=1)]

    def blank(self) -> Modality:
        """Return a blank record, which carries no information."""
        return Modality(blank_values(self.spec))

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        if self.network is not None and f"{prefix}sha256" in state_dict:
            self.network.check(state_dict[f"{prefix}sha256"])
            self.store(sha256=state_dict[f"{prefix}sha256"])
        self.store(
            **{name: state_dict[prefix + name] for name in self.optional if prefix + name in state_dict}
        )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def some_places(count: int, most: int, generator: np.random.Generator) -> np.ndarray:
    """Return at most `most` of `count` places, in ascending order."""
    return np.arange(count) if count <= most else np.sort(generator.choice(count, most, replace=False))


def leading_directions(matrix: Tensor | sparse.csr_matrix, most: int, seed: int) -> Tensor:
    """Return the leading right singular vectors, (columns, at most `most`), by seeded subspace iteration."""
    rows, columns = matrix.shape
    width = min(most + 16, rows, columns)
    start = torch.randn(columns, width, generator=torch_generator(seed, "components"))
    values = matrix if isinstance(matrix, sparse.csr_matrix) else matrix.numpy()
    basis = start.numpy()
    for _ in range(4):
        basis = np.linalg.qr(values @ basis)[0]  # (rows, width)
        basis = np.linalg.qr(values.T @ basis)[0]  # (columns, width)
    singular, rotation = np.linalg.svd(values @ basis, full_matrices=False)[1:]
    leading = basis @ rotation.T  # (columns, width), the strongest first
    strong = singular[:most] > 1e-4 * max(float(singular[0]), 1e-30)
    leading = leading[:, :most][:, strong] if strong.any() else leading[:, :1]
    signs = np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(leading.shape[1])])
    return torch.from_numpy(np.ascontiguousarray(leading * np.where(signs == 0, 1, signs), dtype=np.float32))
