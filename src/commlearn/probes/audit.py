"""Does the label survive the augmentation? Probes of augmented inputs compared with probes of clean ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from commlearn.augmentations import Augmentation
from commlearn.batch import to_device
from commlearn.config.build import build_augmentations
from commlearn.errors import ConfigurationError, DataError
from commlearn.kinds.arrays import presence
from commlearn.probes import Outcome, Vectors, chosen_targets, has_label, probe_vectors
from commlearn.probes.readout_rows import readout_rows
from commlearn.records import Dataset, Records
from commlearn.seeds import numpy_generator, torch_generator
from commlearn.trained.embed import as_encoders_read, carrier

LOST = 0.5  # share of what a probe reads above chance; beyond it the augmentation destroys the target


@dataclass(frozen=True)
class AuditRow:
    """One modality at one strength."""

    modality: str
    strength: int  # how many times over its augmentation was applied; 0 = clean
    result: Any  # what `probe` finds
    destroys: bool


@dataclass(frozen=True)
class Audit:
    """What was measured for one target."""

    target: str
    rows: tuple[AuditRow, ...]

    @property
    def warnings(self) -> list[str]:
        """One sentence for each modality whose augmentation destroys the target."""
        sentences = []
        for row in self.rows:
            if row.destroys and row.strength == 1:
                clean = next(r for r in self.rows if r.modality == row.modality and not r.strength)
                sentences.append(
                    f"the augmentation of {row.modality} destroys {self.target}: a probe reads "
                    f"{clean.result} off clean inputs, {row.result} off augmented ones. "
                    f"Weaken it: augmentations.{row.modality}"
                )
        return sentences

    def to_dict(self) -> dict[str, Any]:
        return {"target": self.target, "rows": [asdict(row) for row in self.rows], "warnings": self.warnings}

    def __str__(self) -> str:
        lines = [f"augmentation audit of {self.target}"]
        for row in self.rows:
            what = f"augmented x {row.strength}" if row.strength else "clean"
            lines.append(f"  {row.modality}, {what}: {row.result}{' DESTROYED' if row.destroys else ''}")
        return "\n".join([*lines, *self.warnings])


def audit_augmentations(
    model: Any,
    data: Any,
    target: str,
    strengths: Sequence[int] = (1, 2),
    records: int = 2000,
    seed: int = 0,
) -> Audit:
    """How much of a target a probe reads off each modality, clean and augmented.

    A probe is fitted on augmented training records and scored on augmented test records: what is left of
    the target, not what a change of inputs does to a probe that never saw it. The embeddings are the
    model's own, so a target that it cannot read off clean inputs cannot be judged.

    Args:
        model: a trained run, artifact or Embedder; its augmentations are the ones that are judged.
        data: where to fit and where to score; or a table, which is split as the training's was.
        target: which.
        strengths: how many times over an augmentation is applied.
        records: of each split, at most.
        seed: of the augmentation, the choice of records and the probes.

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
    """The audit on the rows that `readout_rows` gave."""
    if any(strength < 1 for strength in strengths):
        raise ConfigurationError(f"strengths is {list(strengths)}; give whole numbers from 1.")
    chosen_targets(data, target)
    trained = carrier(model)
    rows: list[AuditRow] = []
    for name, augmentation in build_augmentations(trained.experiment, trained.specs).items():
        chosen = [
            as_encoders_read(_chosen(part, what, name, target, records, seed), trained.method)
            for what, part in (("training", data.fit), ("test", data.test))
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


def _chosen(records: Records, what: str, name: str, target: str, most: int, seed: int) -> Records:
    """At most so many records that have the modality and the target."""
    there = np.flatnonzero(presence(records.columns[name]) & has_label(records.targets[target]))
    if not len(there):
        raise DataError(
            f"no {what} record has {name} and {target}; fill them in, or split the data differently."
        )
    order = numpy_generator(seed, "audit").permutation(len(there))[:most]
    return records.choose(there[np.sort(order)])


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
    """Most of what can be read is gone, beyond what the intervals leave open."""
    before, after = (getattr(one, one.measure) for one in (clean.result, result))
    nothing, (least, _) = clean.result.chance, clean.result.interval
    return bool(
        least > nothing and result.interval[1] < least and after - nothing < LOST * (before - nothing)
    )
