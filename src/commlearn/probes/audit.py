"""Audit of augmentations: do probes still read a target from augmented inputs as they do from clean ones?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch

from commlearn.augmentations import Augmentation
from commlearn.batch import to_device
from commlearn.config.build import build_augmentations
from commlearn.errors import ConfigurationError, DataError
from commlearn.probes.probe import Vectors, chosen_targets, has_label, probe_vectors
from commlearn.probes.readout_rows import readout_rows
from commlearn.probes.results import Outcome, score_of
from commlearn.records import Dataset, Records, presence
from commlearn.seeds import numpy_generator, torch_generator
from commlearn.trained.embed import method_owner, with_encoder_features

LOST = 0.5  # if a probe keeps less than this share of its score above chance, the target is destroyed


@dataclass(frozen=True)
class AuditRow:
    """Result of one modality at one strength of its augmentation."""

    modality: str
    strength: int  # how many times in a row its augmentation was applied; 0 = clean
    result: Any  # as `probe` returns it
    destroys: bool  # whether the augmentation destroys the target


@dataclass(frozen=True)
class Audit:
    """Results of an audit for one target."""

    target: str
    rows: tuple[AuditRow, ...]

    @property
    def warnings(self) -> list[str]:
        """One sentence for each modality whose augmentation, applied once, destroys the target."""
        sentences = []
        for row in self.rows:
            if row.destroys and row.strength == 1:
                clean = next(r for r in self.rows if r.modality == row.modality and not r.strength)
                sentences.append(
                    f"the augmentation of {row.modality} destroys {self.target}: a probe scores "
                    f"{clean.result} on clean inputs, {row.result} on augmented ones. "
                    f"Weaken it: augmentations.{row.modality}"
                )
        return sentences

    def to_dict(self) -> dict[str, Any]:
        return {"target": self.target, "rows": [asdict(row) for row in self.rows], "warnings": self.warnings}

    def __str__(self) -> str:
        lines = [f"augmentation audit of {self.target}"]
        for row in self.rows:
            label = f"augmented x {row.strength}" if row.strength else "clean"
            lines.append(f"  {row.modality}, {label}: {row.result}{' DESTROYED' if row.destroys else ''}")
        return "\n".join([*lines, *self.warnings])


def audit_augmentations(
    model: Any, data: Any, target: str, strengths: Sequence[int] = (1, 2), records: int = 2000, seed: int = 0
) -> Audit:
    """Measure how well a probe predicts a target from each modality, clean and augmented.

    The probe is fitted on augmented training records and scored on augmented test records. It therefore
    measures what is left of the target, not how a probe of clean inputs reacts to a change of inputs. The
    embeddings are the model's own, so a target that cannot be read from clean inputs cannot be judged.

    Args:
        model: a trained run, artifact or Embedder whose augmentations are judged.
        data: a Dataset with rows to fit on and to score; or a table, which is split as in training.
        target: name of the target.
        strengths: how many times in a row an augmentation is applied.
        records: number of records of each part, at most.
        seed: seed of the augmentation, the choice of records and the probes.

    Example:
        >>> import numpy as np
        >>> import commlearn as cl
        >>> rows = np.random.default_rng(0).normal(size=(90, 4)).astype("float32")
        >>> table = {"left": rows[:, :2], "right": rows[:, 2:], "sign": rows[:, 0] > 0}
        >>> halves = {"left": cl.Vector("left"), "right": cl.Vector("right")}
        >>> schema = cl.Schema(halves, targets={"sign": "class"})
        >>> model = cl.Embedder(schema, epochs=1).fit({name: cells[:60] for name, cells in table.items()})
        >>> audit = cl.audit_augmentations(model, table, "sign", strengths=[1])
        >>> [(row.modality, row.strength) for row in audit.rows]
        [('left', 0), ('left', 1), ('right', 0), ('right', 1)]
    """
    return audit_rows(model, readout_rows(model, data), target, strengths, records, seed)


def audit_rows(
    model: Any, data: Dataset, target: str, strengths: Sequence[int], records: int, seed: int
) -> Audit:
    """Run the audit on rows from `readout_rows`."""
    several = isinstance(strengths, Iterable)
    if not several or not all(isinstance(strength, Integral) and strength > 0 for strength in strengths):
        raise ConfigurationError(f"strengths is {strengths}; give whole numbers from 1 in a list.")
    if records < 1:
        raise ConfigurationError(f"records is {records}; give the number of records of each part, at most.")
    chosen_targets(data, target)
    trained = method_owner(model)
    rows: list[AuditRow] = []
    for name, augmentation in build_augmentations(trained.experiment, trained.specs).items():
        chosen = [
            with_encoder_features(_sample(part, part_name, name, target, records, seed), trained.method)
            for part_name, part in (("training", data.fit), ("test", data.test))
        ]
        clean: Outcome | None = None
        for strength in (0, *strengths):
            vectors = [
                Vectors(_embedded(trained, part, name, augmentation, strength, seed), part) for part in chosen
            ]
            measured = probe_vectors(data, *vectors, targets=target, seed=seed)[target]
            clean = measured if clean is None else clean
            rows.append(AuditRow(name, strength, measured.result, _destroys(clean, measured.result)))
    return Audit(target, tuple(rows))


def _sample(records: Records, part: str, name: str, target: str, count: int, seed: int) -> Records:
    """Draw up to `count` records that have the modality and the target."""
    rows = np.flatnonzero(presence(records.columns[name]) & has_label(records.targets[target]))
    if not len(rows):
        raise DataError(
            f"no {part} record has {name} and {target}; fill them in, or split the data differently."
        )
    order = numpy_generator(seed, "audit").permutation(len(rows))[:count]
    return records.choose(rows[np.sort(order)])


@torch.inference_mode()
def _embedded(
    trained: Any, records: Records, name: str, augmentation: Augmentation, strength: int, seed: int
) -> np.ndarray:
    device = next(trained.method.parameters()).device
    generator = torch_generator(seed, f"audit {name}", strength)
    parts = []
    for start in range(0, len(records), 256):
        modality = records.view(slice(start, start + 256), [name])[name]
        for _ in range(strength):
            modality = augmentation(modality, generator, records.columns[name].spec)
        parts.append(trained.method.embed(to_device({name: modality}, device), [name]).float().cpu().numpy())
    return np.concatenate(parts)


def _destroys(clean: Outcome, result: Any) -> bool:
    """Whether most of the score above chance is gone, and not only within the intervals' uncertainty."""
    chance, (low, _) = clean.result.chance, clean.result.interval
    before, after = score_of(clean.result) - chance, score_of(result) - chance
    return bool(low > chance and result.interval[1] < low and after < LOST * before)
