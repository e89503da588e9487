"""Features of series and sound: random convolutions (MiniRocket) and statistics of each channel."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from commlearn.batch import Modality, Spec, has_observation_marks
from commlearn.models.features.networks import Published
from commlearn.models.features.raw import QUANTILE_ROWS, Learned, Raw, Sample
from commlearn.seeds import numpy_generator

MOST_DILATIONS = 32  # most dilations of a kernel
TIE = 1e-4  # added to a bias, so that it is above the kernel output that it was taken from
SPORADIC = 0.5  # share of observed steps below which a series is single measurements rather than a curve


class Steps(Raw):
    """MiniRocket and statistics of each channel, over the steps that are not padding.

    If the second half of the channels marks the steps in which the first half was observed, as the kinds
    series and audio encode gaps, the gaps are filled with the last observed value. If most steps are gaps,
    as in patients' laboratory values, there is no curve for MiniRocket to read. Then only statistics are
    used, of log-compressed values, including how far from the usual they are in either direction.
    """

    marked: Tensor
    sporadic: Tensor
    centre: Tensor
    scale: Tensor
    longest: Tensor

    def __init__(self, spec: Spec, network: Published | None = None) -> None:
        super().__init__(spec, network)
        channels = int(np.prod(spec.shape))
        self.store(
            marked=torch.tensor(False),  # whether half of the channels mark what was observed
            sporadic=torch.tensor(False),  # whether most steps are gaps
            centre=torch.zeros(channels),  # (channels,)
            scale=torch.ones(channels),  # (channels,)
            longest=torch.tensor(1.0),  # steps of the longest training series
        )
        self.rocket = MiniRocket()

    @property
    def softness(self) -> float:
        return 1.0 if self.sporadic else 0.5

    def learn(self, sample: Sample, seed: int) -> None:
        self.store(marked=torch.tensor(all(has_observation_marks(part) for part in sample)))
        parts = list(sample.some(QUANTILE_ROWS, numpy_generator(seed, "steps")))
        steps = torch.cat([self._observed(part)[part.real] for part in parts])  # (steps, channels)
        low, centre, high = _quantiles(steps.cpu().numpy())
        self.store(sporadic=self.marked & (steps.isfinite().float().mean().cpu() < SPORADIC))
        lengths = torch.cat([part.real.sum(dim=1) for part in sample]).cpu()
        self.store(centre=centre, scale=np.where(high > low, (high - low) / 3.3, 1.0).astype(np.float32))
        self.store(longest=lengths.max().clamp(min=1).float())
        if self.sporadic:
            return
        examples = next(iter(sample.some(64, numpy_generator(seed, "rocket-rows"))))
        median = max(int(lengths.float().median()), 1)
        self.rocket.learn(self._filled(self._scaled(examples)), examples.real.sum(dim=1), median, seed)

    def forward(self, modality: Modality) -> list[Tensor]:
        scaled, real = self._scaled(modality), modality.real
        if self.sporadic:
            scaled = scaled.sign() * scaled.abs().log1p()
        filled = self._filled(scaled) * real[..., None]  # (batch, steps, channels)
        statistics = self._statistics(scaled, filled, real)
        if self.sporadic:
            # how far from the usual, either way, and what was observed at all
            unusual = [statistics["mean"].abs(), statistics["last"].abs(), (statistics["share"] > 0).float()]
            return [torch.cat([*statistics.values(), *unusual], dim=1)]
        rocket = self.rocket(filled.transpose(1, 2), real.sum(dim=1))
        return [rocket, torch.cat(list(statistics.values()), dim=1)]

    def _observed(self, modality: Modality) -> Tensor:
        """Return the values, (batch, steps, channels), with NaN in gaps and in padding."""
        values = modality.values.float().flatten(2)
        if self.marked:
            half = values.shape[2] // 2
            values = values[..., :half].masked_fill(values[..., half:] < 0.5, torch.nan)
        return values.masked_fill(~modality.real[..., None] | values.isinf(), torch.nan)

    def _scaled(self, modality: Modality) -> Tensor:
        return ((self._observed(modality) - self.centre) / self.scale).clamp(-10, 10)  # NaN stays

    def _filled(self, scaled: Tensor) -> Tensor:
        """Fill gaps with the last observed value, and with the centre before the first one."""
        index = torch.arange(scaled.shape[1], device=scaled.device).view(1, -1, 1)
        last = torch.where(scaled.isnan(), 0, index).cummax(dim=1).values
        return scaled.gather(1, last).nan_to_num()

    def _statistics(self, scaled: Tensor, filled: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Compute statistics of each channel over its observed steps, and a measure of the length."""
        observed, steps = ~scaled.isnan(), real.sum(dim=1)  # (batch, steps, channels), (batch,)
        values, count = scaled.nan_to_num(), observed.sum(dim=1).clamp(min=1)
        mean = values.sum(dim=1) / count
        centred = (values - mean[:, None]) * observed
        deviation = (centred.square().sum(dim=1) / count).sqrt()
        least = values.masked_fill(~observed, torch.inf).amin(dim=1)
        most = values.masked_fill(~observed, -torch.inf).amax(dim=1)
        index = torch.arange(scaled.shape[1], device=scaled.device).view(1, -1, 1)
        start = torch.where(observed, index, scaled.shape[1] - 1).amin(dim=1, keepdim=True)
        first = values.gather(1, start)[:, 0]
        last = values.gather(1, torch.where(observed, index, 0).amax(dim=1, keepdim=True))[:, 0]
        time = (2 * index / (steps.view(-1, 1, 1) - 1).clamp(min=1) - 1) * observed  # from -1 to 1
        time = (time - (time.sum(dim=1) / count)[:, None]) * observed
        slope = (time * centred).sum(dim=1) / time.square().sum(dim=1).clamp(min=1e-3)
        pairs = (real[:, 1:] & real[:, :-1])[..., None]
        change = ((filled[:, 1:] - filled[:, :-1]).abs() * pairs).sum(dim=1) / pairs.sum(dim=1).clamp(min=1)
        share = observed.sum(dim=1) / steps.clamp(min=1)[:, None]
        length = (steps.float() / self.longest).log1p()[:, None]
        statistics = {"mean": mean, "deviation": deviation, "least": least, "most": most, "first": first}
        statistics |= {"last": last, "slope": slope, "change": change, "share": share, "length": length}
        return {name: value.nan_to_num(posinf=0.0, neginf=0.0) for name, value in statistics.items()}

    def _load_from_state_dict(self, state: Mapping[str, Any], prefix: str, *args: Any) -> None:
        complete = {f"{prefix}sporadic": torch.tensor(False), **state}  # older files lack it
        super()._load_from_state_dict(complete, prefix, *args)


class MiniRocket(Learned):
    """Shares of positive values after 84 fixed convolutions at several dilations (Dempster et al., 2021).

    A kernel has nine weights, three of them 2 and six -1, and reads a random set of channels. Its output
    is compared with biases that are quantiles of its output on a training series.

    Example:
        >>> series = torch.randn(10, 50, 3, generator=torch.Generator().manual_seed(0))
        >>> rocket = MiniRocket(500).learn(series, torch.full((10,), 50), 50, 0)
        >>> rocket(series.transpose(1, 2), torch.full((10,), 50)).shape
        torch.Size([10, 420])
    """

    dilations: Tensor
    counts: Tensor
    chosen: Tensor
    biases: Tensor

    def __init__(self, features: int = 2000) -> None:
        super().__init__()
        self.features = features
        self.store(
            dilations=torch.ones(1, dtype=torch.long),
            counts=torch.ones(1, dtype=torch.long),  # (dilations,): features per kernel
            chosen=torch.ones(1, 84, 1, dtype=torch.bool),  # (dilations, kernels, channels)
            biases=torch.zeros(84),  # biases of all dilations end to end, each (kernels, count)
        )

    @torch.no_grad()
    def learn(self, series: Tensor, lengths: Tensor, usual: int, seed: int) -> MiniRocket:
        """Choose dilations, channels and biases.

        Args:
            series: some of the training series, (batch, steps, channels), without gaps.
            lengths: number of steps of each series that are not padding, (batch,).
            usual: length for which dilations are chosen.
            seed: seed for choosing channels and the series that each bias is a quantile of.
        """
        generator = numpy_generator(seed, "rocket")
        dilations, counts = _dilations(usual, self.features)
        channels = series.shape[2]
        sizes = 2 ** generator.uniform(0, np.log2(min(channels, 9) + 1), size=(len(dilations), 84))
        chosen = np.zeros((len(dilations), 84, channels), dtype=bool)
        for position, size in np.ndenumerate(sizes.astype(np.int64)):
            chosen[position][generator.choice(channels, size, replace=False)] = True
        device = series.device
        self.store(dilations=dilations, counts=counts, chosen=chosen)
        self.to(device)
        inside = np.arange(series.shape[1]) < lengths.cpu().numpy()[:, None]
        mask = torch.from_numpy(inside).to(device)[..., None]
        signal = (series * mask).transpose(1, 2)
        # spread evenly over 0 to 1
        levels = (np.arange(1, counts.sum() * 84 + 1) * (np.sqrt(5) + 1) / 2) % 1.0
        biases, offset = [], 0
        for index, count in enumerate(counts):
            output = self._convolved(signal, index).cpu().numpy()  # (batch, kernels, steps)
            for kernel, row in enumerate(generator.integers(len(output), size=84)):
                values = output[row, kernel, : max(int(lengths[row]), 1)]
                biases.append(np.quantile(values, levels[offset : offset + count]))
                offset += count
        # A quantile can equal an output: the bias is set slightly above it, so that rounding does not decide.
        self.store(biases=(np.concatenate(biases) + TIE).astype(np.float32))
        self.to(device)
        return self

    @torch.no_grad()
    def forward(self, series: Tensor, lengths: Tensor) -> Tensor:
        """Return the shares of positive values, (batch, features).

        Args:
            series: (batch, channels, steps), without gaps, zeros in padding.
            lengths: number of steps of each series that are not padding, (batch,).
        """
        parts = zip(series.split(32), lengths.split(32), strict=True)
        return torch.cat([self._shares(*part) for part in parts])

    def _shares(self, series: Tensor, lengths: Tensor) -> Tensor:
        columns, offset = [], 0
        step = torch.arange(series.shape[2], device=series.device)
        sizes = zip(self.dilations.tolist(), self.counts.tolist(), strict=True)
        for index, (dilation, count) in enumerate(sizes):
            output = self._convolved(series, index)  # (batch, kernels, steps)
            biases = self.biases[offset : offset + 84 * count].view(84, count)
            offset += 84 * count
            ends = (lengths > 8 * dilation).long() * 4 * dilation  # steps whose kernel overruns the series
            shares = output.new_empty(len(series), 84, count)
            for parity, end in enumerate((torch.zeros_like(ends), ends)):  # every other kernel omits its ends
                kernels = slice((index + parity) % 2, None, 2)
                weights = ((step >= end[:, None]) & (step < (lengths - end)[:, None])).to(output.dtype)
                weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1)  # (batch, steps)
                values = output[:, kernels].contiguous()
                above = torch.empty_like(values)  # memory that all biases use
                parts = [
                    torch.bmm(torch.gt(values, bias[:, None], out=above), weights[:, :, None])
                    for bias in biases[kernels].unbind(1)
                ]
                shares[:, kernels] = torch.cat(parts, dim=2)
            columns.append(shares.flatten(1))  # (batch, kernels x count)
        return torch.cat(columns, dim=1)

    def _convolved(self, series: Tensor, index: int) -> Tensor:
        """Convolve (batch, channels, steps) to (batch, kernels, steps) at one dilation, padded with zeros."""
        dilation, chosen = int(self.dilations[index]), self.chosen[index].to(series.dtype)
        kernels = _kernels().to(series)
        if series.shape[1] <= 16:  # kernels of all channels at once
            weights = kernels[:, None] * chosen[:, :, None]  # (kernels, channels, 9)
            return F.conv1d(series, weights, dilation=dilation, padding=4 * dilation)
        summed = chosen @ series  # (batch, kernels, steps)
        return F.conv1d(summed, kernels[:, None], dilation=dilation, padding=4 * dilation, groups=84)


def _kernels() -> Tensor:
    """Return MiniRocket's weights, (84, 9): 2 at each choice of three places, -1 elsewhere."""
    places = torch.tensor(list(combinations(range(9), 3)))
    return torch.full((84, 9), -1.0).scatter_(1, places, 2.0)


def _dilations(length: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Return dilations for series of a length, and the features per kernel that each has, as published."""
    per_kernel = max(features // 84, 1)
    distinct = min(per_kernel, MOST_DILATIONS)
    largest = np.log2(max((length - 1) / 8, 1))
    powers = np.logspace(0, largest, distinct, base=2).astype(np.int64)
    dilations, counts = np.unique(powers, return_counts=True)
    counts = (counts * (per_kernel / distinct)).astype(np.int64)
    for extra in range(per_kernel - int(counts.sum())):
        counts[extra % len(counts)] += 1
    return dilations, counts


def _quantiles(steps: np.ndarray) -> list[np.ndarray]:
    """Return the 5 %, 50 % and 95 % quantiles of each channel, ignoring NaN; 0 if nothing was observed."""
    quantiles = np.zeros((3, steps.shape[1]), dtype=np.float32)
    for channel, values in enumerate(steps.T):
        finite = values[np.isfinite(values)]
        if len(finite):
            quantiles[:, channel] = np.quantile(finite[:: max(len(finite) // 100_000, 1)], [0.05, 0.5, 0.95])
            if not quantiles[0, channel] < quantiles[2, channel]:  # mostly one value
                spread = 1.65 * min(float(finite.std(dtype=np.float64)), 1e30)
                quantiles[:, channel] += np.array([-spread, 0, spread], dtype=np.float32)
    return list(quantiles)
