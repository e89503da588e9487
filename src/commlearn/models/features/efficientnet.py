"""EfficientNet-lite0 (Tan and Le, 2019): 1 280 features of a picture, by weights that a package carries."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIDDLE, REACH = 127.0, 128.0  # of a byte: what the weights were trained on is (byte - MIDDLE) / REACH
STAGES = (  # blocks, kernel, stride, expansion, channels before and after
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


class FrozenNorm(nn.Module):
    """A batch norm that uses the statistics that it was trained with."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, maps: Tensor) -> Tensor:
        norm = dict(self.named_buffers())
        return F.batch_norm(
            maps, norm["running_mean"], norm["running_var"], norm["weight"], norm["bias"], eps=1e-3
        )


class SameConv(nn.Conv2d):
    """A convolution that pads as the published weights need it: a stride gives ceil(size / stride)."""

    def forward(self, maps: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads: list[int] = []
        for size in reversed(maps.shape[2:]):
            need = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [need // 2, need - need // 2]
        return F.conv2d(F.pad(maps, pads), self.weight, None, self.stride, groups=self.groups)


class Block(nn.Module):
    """Expand, convolve each channel, contract; the input is added where the shape is the same."""

    def __init__(self, kernel: int, stride: int, expansion: int, before: int, after: int) -> None:
        super().__init__()
        hidden = before * expansion
        self.expands, self.skips = expansion > 1, stride == 1 and before == after
        if self.expands:
            self._expand_conv = nn.Conv2d(before, hidden, 1, bias=False)
            self._bn0 = FrozenNorm(hidden)
        self._depthwise_conv = SameConv(hidden, hidden, kernel, stride=stride, groups=hidden, bias=False)
        self._bn1 = FrozenNorm(hidden)
        self._project_conv = nn.Conv2d(hidden, after, 1, bias=False)
        self._bn2 = FrozenNorm(after)

    def forward(self, maps: Tensor) -> Tensor:
        inner = F.relu6(self._bn0(self._expand_conv(maps))) if self.expands else maps
        inner = F.relu6(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        return maps + inner if self.skips else inner


class EfficientNetLite0(nn.Module):
    """Pixels from 0 to 255, (batch, 3, height, width), to (batch, 1280). Names are those of the weights.

    Example:
        >>> EfficientNetLite0()(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 1280])
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, stride=2, bias=False)
        self._bn0 = FrozenNorm(32)
        self._blocks = nn.Sequential(
            *(
                Block(kernel, 1 if place else stride, expansion, after if place else before, after)
                for count, kernel, stride, expansion, before, after in STAGES
                for place in range(count)
            )
        )
        self._conv_head = nn.Conv2d(320, 1280, 1, bias=False)
        self._bn1 = FrozenNorm(1280)
        self.requires_grad_(False)

    @classmethod
    def published(cls, file: Path) -> EfficientNetLite0:
        """With the published weights; the classifier on top of them is left out."""
        state = torch.load(file, map_location="cpu", weights_only=True)
        network = cls()
        network.load_state_dict(
            {
                name: values
                for name, values in state.items()
                if not name.startswith("_fc.") and not name.endswith("num_batches_tracked")
            }
        )
        return network

    def forward(self, pixels: Tensor) -> Tensor:
        seen = ((pixels.float() - MIDDLE) / REACH).contiguous(memory_format=torch.channels_last)
        maps = F.relu6(self._bn0(self._conv_stem(seen)))
        maps = F.relu6(self._bn1(self._conv_head(self._blocks(maps))))
        return maps.mean(dim=(2, 3))
