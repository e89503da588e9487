"""Image encoders, from values to a feature map without pooling, so that every cell can be a token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from commlearn.errors import ConfigurationError
from commlearn.models.adapters import MapAdapter
from commlearn.models.features.pictures import StandardImage, waves
from commlearn.models.tokens import ModalityEncoder


class ImageEncoder(nn.Module):
    """Runs a convolutional stack on images that are uint8 in 0..255 or floats in 0..1."""

    def __init__(self, stack: nn.Module) -> None:
        super().__init__()
        self.stack = stack.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, values: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if values.dtype == torch.uint8:
            values = values.to(next(self.stack.parameters()).dtype) / 255
        images = (values - 0.5) / 0.25
        return self.stack(images.contiguous(memory_format=torch.channels_last)), padding


def small_cnn(shape: tuple[int, ...], width: int, channels: Sequence[int] = (24, 48, 128)) -> ModalityEncoder:
    """Build an encoder of three convolutions for images of 32 to 96 pixels; 64 pixels become a 4x4 map.

    It learns in minutes: brightness and contrast are removed from every image, the first layer is
    initialised to waves of every direction and period, the others to identities, and a maximum over
    neighbours makes a texture look the same wherever its pattern starts.
    """
    layers: list[nn.Module] = [StandardImage()]
    for number, (before, after) in enumerate(zip((shape[0], *channels), channels, strict=False)):
        convolution, norm = _convolution(before, after, 5 if number == 0 else 3, 2 if number == 0 else 1)
        with torch.no_grad():
            if number == 0:
                start_as_waves(convolution.weight)
            else:
                nn.init.dirac_(convolution.weight[: min(before, after)])
        layers += [convolution, nn.MaxPool2d(3, stride=2, padding=1), norm, nn.ReLU(inplace=True)]
    return _tokens_of(nn.Sequential(*layers), shape, width, channels[-1], 2 ** (len(channels) + 1))


def start_as_waves(kernels: Tensor) -> None:
    """Fill (filters, channels, k, k) with colour blobs, then 2-D cosines of luminance from coarse to fine.

    Filters beyond what that basis holds keep their random values.
    """
    filters, channels, size, _ = kernels.shape
    blob, *patterns = waves(size)
    luminance = torch.full((channels, 1, 1), channels**-0.5)
    initial = [luminance * blob]
    if channels == 3:
        red_green, blue_yellow = torch.tensor([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]])[..., None, None]
        for colour in (red_green / 2**0.5, blue_yellow / 6**0.5):
            initial += [colour * blob, -colour * blob]
    initial += [luminance * pattern for pattern in patterns]
    count = min(filters, len(initial))
    kernels[:count] = torch.stack(initial[:count])


def alexnet(shape: tuple[int, ...], width: int) -> ModalityEncoder:
    """Build AlexNet's feature stack: 224 pixels become a 6x6 map of 256 channels."""
    stack = nn.Sequential(
        nn.Conv2d(shape[0], 64, 11, stride=4, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2),
    )
    return _tokens_of(stack, shape, width, 256, 63)


def resnet18(shape: tuple[int, ...], width: int) -> ModalityEncoder:
    """Build ResNet-18 without its final pooling: a map of 512 channels at 1/32 of the size."""
    return _tokens_of(_resnet(_basic_block, (2, 2, 2, 2), shape[0]), shape, width, 512, 32)


def resnet50(shape: tuple[int, ...], width: int) -> ModalityEncoder:
    """Build ResNet-50 without its final pooling: a map of 2 048 channels at 1/32 of the size."""
    return _tokens_of(_resnet(_bottleneck, (3, 4, 6, 3), shape[0]), shape, width, 2048, 32)


def _tokens_of(
    stack: nn.Module, shape: tuple[int, ...], width: int, channels: int, smallest: int
) -> ModalityEncoder:
    if min(shape[1:]) < smallest:
        raise ConfigurationError(
            f"This image encoder needs images of at least {smallest} x {smallest} pixels, got {shape[1]} x "
            f"{shape[2]}. Give larger images or a smaller encoder (small_cnn)."
        )
    return ModalityEncoder(ImageEncoder(stack), MapAdapter(channels, width))


class Residual(nn.Module):
    """relu(shortcut(x) + body(x)); the shortcut is projected where the shape changes."""

    def __init__(self, body: Sequence[nn.Module], before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.after = after
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(*_convolution(before, after, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.body(x))


def _basic_block(before: int, channels: int, stride: int) -> Residual:
    """Build two 3x3 convolutions (ResNet-18)."""
    first, second = _convolution(before, channels, 3, stride), _convolution(channels, channels, 3, 1)
    return Residual([*first, nn.ReLU(inplace=True), *second], before, channels, stride)


def _bottleneck(before: int, channels: int, stride: int) -> Residual:
    """Build 1x1, 3x3, 1x1 convolutions; the output is four times as wide (ResNet-50)."""
    body = [
        *_convolution(before, channels, 1, 1),
        nn.ReLU(inplace=True),
        *_convolution(channels, channels, 3, stride),
        nn.ReLU(inplace=True),
        *_convolution(channels, 4 * channels, 1, 1),
    ]
    return Residual(body, before, 4 * channels, stride)


def _resnet(block: Callable[[int, int, int], Residual], depths: Sequence[int], channels: int) -> nn.Module:
    layers: list[nn.Module] = [
        *_convolution(channels, 64, 7, 2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    before = 64
    for stage, depth in enumerate(depths):
        for position in range(depth):
            stride = 2 if stage > 0 and position == 0 else 1
            part = block(before, 64 * 2**stage, stride)
            layers.append(part)
            before = part.after
    stack = nn.Sequential(*layers)
    for module in stack.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return stack


def _convolution(before: int, after: int, kernel: int, stride: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    convolution = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(after)
