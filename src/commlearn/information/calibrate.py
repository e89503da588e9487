"""Calibration: the whole estimation on data with known parts and the size of the user's own data.

Each modality shows a discrete latent through Gaussian noise. The noisy scalar is rotated into many dimensions
together with non-linear copies. Given the scalar, all else is noise, so the true decomposition is that of the
scalars before the rotation, which fine binning gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from commlearn.errors import ConfigurationError
from commlearn.information.estimate import ATOMS, atoms_of_two, measure
from commlearn.information.evidence import best_logs, gather_evidence
from commlearn.information.material import Settings, Target, from_arrays, label_columns, prepare_target
from commlearn.information.pid import Pid, broja
from commlearn.information.pid.marginals import Array
from commlearn.information.sources import gather
from commlearn.seeds import numpy_generator
from commlearn.tables.formats.reading import PLAIN
from commlearn.tables.infer import infer
from commlearn.tables.schema import Schema
from commlearn.tables.table import Source, read_table


@dataclass(frozen=True)
class Twin:
    """A joint distribution of latents and a target, and how modalities show the latents."""

    name: str  # name of the twin, which also seeds its samples
    latents: Array  # joint probabilities p[x_1, ..., x_n, y] of values 0, ..., k - 1
    # Per modality, the distance between neighbouring values, in standard deviations of the noise.
    separations: tuple[float, ...]
    dimensions: int | tuple[int, ...] = 32  # columns of each modality, at least 4; one number applies to all

    def sample(
        self, records: int, seed: int, counts: np.ndarray | None = None
    ) -> tuple[dict[str, Array], np.ndarray]:
        """Draw records, `counts` of each class if given, and return modalities a, b, ... and the target."""
        draw = numpy_generator(seed, f"twin {self.name}")
        if counts is None:
            cells = draw.choice(self.latents.size, size=records, p=self.latents.ravel())
        else:
            classes = self.latents.reshape(-1, len(counts)).T
            drawn = [
                draw.choice(len(share), size=count, p=share / share.sum())
                for share, count in zip(classes, counts, strict=True)
            ]
            cells = np.concatenate([rows * len(counts) + label for label, rows in enumerate(drawn)])
        *values, target = np.unravel_index(cells, self.latents.shape)
        arrays = {}
        for index, (value, separation) in enumerate(zip(values, self.separations, strict=True)):
            middle = (self.latents.shape[index] - 1) / 2
            scalar = separation * (value - middle) + draw.normal(size=records)
            dimensions = self.dimensions if isinstance(self.dimensions, int) else self.dimensions[index]
            arrays[chr(ord("a") + index)] = _spread(scalar, dimensions, draw)
        return arrays, target

    def truth(self, bins: int = 100) -> Pid:
        """Return the exact decomposition of two modalities, computed by fine binning."""
        return broja(self.binned(bins))

    def binned(self, bins: int) -> Array:
        """Return the joint probabilities p[t_1, ..., t_n, y] of the binned noisy scalars and the target."""
        table = self.latents
        for axis, separation in enumerate(self.separations):
            channel = _channel(self.latents.shape[axis], separation, bins)  # (values, bins)
            table = np.moveaxis(np.tensordot(channel, table, axes=(0, axis)), 0, axis)
        return table / table.sum()


def _channel(values: int, separation: float, bins: int) -> Array:
    """Return p(bin | value), (values, bins), for bins of about equal mass."""
    centres = separation * (np.arange(values) - (values - 1) / 2)
    grid = np.linspace(centres[0] - 6, centres[-1] + 6, 20_001)
    mixture = norm.cdf(grid[:, None] - centres).mean(axis=1)
    edges = np.interp(np.linspace(0, 1, bins + 1)[1:-1], mixture, grid)
    return np.diff(norm.cdf(edges - centres[:, None]), axis=1, prepend=0.0, append=1.0)


def _spread(scalar: Array, dimensions: int, draw: np.random.Generator) -> Array:
    """Return the scalar, three non-linear copies of it and columns of noise, rotated together."""
    copies = np.stack([scalar, np.tanh(scalar), scalar**2 / 4, np.sin(scalar)], axis=1)
    noise = draw.normal(size=(len(scalar), dimensions - copies.shape[1]))
    rotation, _ = np.linalg.qr(draw.normal(size=(dimensions, dimensions)))
    return np.concatenate([copies, noise], axis=1) @ rotation


_SEPARATIONS = (4.0, 3.0)


@dataclass(frozen=True)
class Calibration:
    """Errors of the report on twins of the user's data, in bits."""

    records: int  # number of records in each sample of a twin
    classes: int  # number of classes
    dimensions: tuple[int, ...]  # number of columns of each modality
    truth: dict[str, dict[str, float]]  # for each twin, the true bits of each part
    # For each twin and part, the error in each repetition: estimate minus truth.
    errors: dict[str, dict[str, list[float]]]

    def expected(self, part: str) -> float:
        """Return the absolute error of this part that nine of ten repetitions did not exceed."""
        errors = np.concatenate([np.abs(parts[part]) for parts in self.errors.values()])
        return float(np.quantile(errors, 0.9))

    def to_dict(self) -> dict[str, Any]:
        return {
            "records": self.records,
            "classes": self.classes,
            "dimensions": list(self.dimensions),
            "expected": {part: self.expected(part) for part in ATOMS},
            "truth": self.truth,
            "errors": self.errors,
        }

    def __str__(self) -> str:
        shared, *unique, synergy = map(self.expected, ATOMS)
        width = max(map(len, self.errors))
        lines = [
            f"At this size ({self.records} records, {self.classes} classes, modalities of "
            f"{', '.join(map(str, self.dimensions))} dimensions), nine out of ten errors are within:",
            f"shared R ± {shared:.2f} bits, unique U ± {max(unique):.2f} bits, synergy S ± {synergy:.2f} "
            "bits.",
            "",
            f"{'twin':<{width}}  true R, U1, U2, S          mean error of each",
        ]
        for name, parts in self.errors.items():
            true = "  ".join(f"{self.truth[name][part]:4.2f}" for part in ATOMS)
            mean = "  ".join(f"{np.mean(parts[part]):+.2f}" for part in ATOMS)
            lines.append(f"{name:<{width}}  {true}      {mean}")
        return "\n".join(lines)


def twins_like(shares: Array, dimensions: tuple[int, ...]) -> list[Twin]:
    """Return three twins of the first two modalities with these class shares: shared, unique, synergistic."""
    classes = len(shares)
    label, value = np.indices((classes, classes))
    diagonal, first, modular = np.zeros((3, classes, classes, classes))
    diagonal[label, label, label] = shares[label]
    first[label, value, label] = shares[label] / classes
    modular[value, (value + label) % classes, label] = shares[label] / classes
    tables = {"shared": diagonal, "unique to the first": first, "synergy (a sum, modulo)": modular}
    return [
        Twin(name, table, _SEPARATIONS, tuple(max(4, size) for size in dimensions[:2]))
        for name, table in tables.items()
    ]


def calibrate(
    target: Target,
    dimensions: tuple[int, ...],
    repeats: int = 3,
    settings: Settings | None = None,
    tell: Callable[[str], None] = lambda what: None,
) -> Calibration:
    """Run the whole estimation on twins of the user's data.

    Args:
        target: the user's target, whose number of records and class shares the twins take over.
        dimensions: number of columns of each modality; at least two modalities.
        repeats: number of samples of each twin.
        settings: settings of the estimation; intervals and curves are left out, as they change no estimate.
        tell: called with a progress message before each sample.

    Example:
        >>> from commlearn.information.material import prepare_target
        >>> target = prepare_target(np.arange(300) % 2, "y", None, 5)
        >>> calibrate(target, (4, 4), repeats=1).expected("synergistic") < 0.3
        True
    """
    if len(dimensions) < 2 or repeats < 1:
        raise ConfigurationError(
            f"Calibration needs at least two modalities and one repetition; got {len(dimensions)} and "
            f"{repeats}."
        )
    settings = settings or Settings()
    records = len(target.labels)
    shares = np.bincount(target.labels) / records
    truth: dict[str, dict[str, float]] = {}
    errors: dict[str, dict[str, list[float]]] = {}
    for twin in twins_like(shares, dimensions):
        exact = twin.truth(bins=min(60, 10 * len(shares)))
        truth[twin.name] = {part: getattr(exact, part) for part in ATOMS}
        errors[twin.name] = {part: [] for part in ATOMS}
        for repeat in range(repeats):
            tell(f"{twin.name}, {repeat + 1} of {repeats}")
            for part, bits in _estimate(twin, records, repeat, settings).items():
                errors[twin.name][part].append(bits - truth[twin.name][part])
    return Calibration(records, len(shares), tuple(dimensions), truth, errors)


def calibrate_like(
    like: Source,
    target: str,
    schema: Schema | None = None,
    modalities: Sequence[str] | None = None,
    repeats: int = 3,
    bins: int | None = None,
    tell: Callable[[str], None] = lambda what: None,
) -> Calibration:
    """Run `calibrate` on twins with the number of records, class balance and raw columns of a table.

    Args:
        like: the table.
        target: name of the column with the classes.
        schema: which columns make up which modality; guessed if not given.
        modalities: names of the modalities to use; all if not given.
        repeats: number of samples of each twin.
        bins: number of quantile classes if the target is a number.
        tell: called with a progress message before each sample.
    """
    table = read_table(like, reading=PLAIN if schema is None else schema.reading())
    if schema is None:
        schema = infer(table, [target]).schema
        if len(schema.modalities) < 2:
            raise ConfigurationError(
                f"All columns of the table were guessed to be one modality, {', '.join(schema.modalities)}, "
                "but a comparison needs two. State the columns of each modality in a schema (schema=)."
            )
    inputs = gather(schema, table, modalities, None).about(target)
    labels = label_columns(inputs.values)
    if labels is not None:
        raise ConfigurationError(
            f"target '{target}' has several labels per record ({', '.join(list(labels)[:5])}, ...), and "
            "each is a separate target; give a yes/no column for one of them."
        )
    settings = Settings()
    classes = prepare_target(inputs.values, inputs.name, bins, settings.folds, inputs.sort)
    dimensions = tuple(array.shape[1] for array in inputs.material.arrays.values())
    return calibrate(classes, dimensions, repeats, settings, tell)


def _estimate(twin: Twin, records: int, seed: int, settings: Settings) -> dict[str, float]:
    """Draw a sample with enough records of every class for the folds, and return its estimated parts."""
    classes = twin.latents.shape[-1]
    for attempt in range(100):
        arrays, labels = twin.sample(records, seed + 1000 * attempt)
        if np.bincount(labels, minlength=classes).min() >= settings.folds:
            break
    else:  # chance hardly ever gives each of several small classes enough records
        shares = twin.latents.sum(axis=tuple(range(twin.latents.ndim - 1)))
        arrays, labels = twin.sample(records, seed, np.rint(records * shares).astype(np.intp))
    target = Target(twin.name, labels, tuple(map(str, range(classes))), np.arange(records), records)
    evidence = gather_evidence(from_arrays(arrays, None), target, None, settings)
    logs, _ = best_logs(evidence, settings)
    parts = atoms_of_two(measure(logs, evidence.labels), ("a",), ("b",))
    return {part: parts[part].bits for part in ATOMS}
