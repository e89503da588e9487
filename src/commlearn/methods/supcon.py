"""SupCon: the fused embeddings of records of one class agree, so labels decide what is kept.

`CoMMSup` adds it to CoMM for data in which only some records have a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from commlearn.errors import ConfigurationError, unknown
from commlearn.methods.base import Step, Views
from commlearn.methods.comm import CoMM
from commlearn.methods.rows import Rows
from commlearn.models.encoders.own import token_encoders
from commlearn.models.fused_parts import Held, fused_parts
from commlearn.models.fusion import Fusion
from commlearn.models.heads import HEAD, TemperatureChoice, positive, projection_head
from commlearn.models.tokens import project_present
from commlearn.objectives import retrieval_accuracy, supcon
from commlearn.records import Records
from commlearn.tables.streamed import StreamedRecords


class SupCon(CoMM):
    """Supervised contrastive learning on CoMM's full fusion, without CoMM's own terms.

    Args:
        encoders: one for each modality; they share the fusion's width.
        fusion: maps the tokens of a subset of modalities to one vector.
        head: maps this vector to the space of the loss.
        target: target whose classes are contrasted; may be empty if the data have one target of classes.
        temperature: temperature of the contrast.

    Example:
        >>> import torch
        >>> method = SupCon.build({"left": nn.Linear(3, 8), "right": nn.Linear(5, 8)}, width=8)
        >>> view = {"left": torch.rand(4, 3), "right": torch.rand(4, 5)}
        >>> method.embed(view).shape, method.embed(view, ["left"]).shape
        (torch.Size([4, 8]), torch.Size([4, 8]))
    """

    views = Views(augmented=2, targets=True)

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        head: nn.Module,
        target: str = "",
        temperature: float = 0.07,
    ) -> None:
        positive(temperature, "method.temperature")
        super().__init__(encoders, fusion, head, [tuple(encoders)], temperature)
        self.target = target

    @classmethod
    def build(  # type: ignore[override]
        cls,
        encoders: Mapping[str, nn.Module],
        width: int,
        fusion: nn.Module | None = None,
        target: str = "",
        temperature: float = 0.07,
    ) -> SupCon:
        """Build SupCon with CoMM's fusion and head."""
        encoders = token_encoders(encoders, width)
        return cls(encoders, fusion or Fusion(width), projection_head(width), target, temperature)

    def check_records(self, records: Records) -> None:
        self.target = class_target("supcon", self.target, records)

    def compare(self, rows: Rows) -> Step:
        target = self.target or next(iter(rows.targets))
        first, second = self.head(rows.stacked(self.modalities)).chunk(2)
        loss = supcon(first, second, rows.targets[target], self.temperature(rows.progress))
        return Step(loss, {target: loss}, accuracy={target: retrieval_accuracy(first, second)})


class CoMMSup(CoMM):
    """CoMM on all records, plus the supervised contrast on those with a known label.

        L = L_CoMM + label_weight * labelled / records * L_SupCon

    Both read the full fusion, each through its own head. A record without a label enters only the first
    term. The supervised term is weighted by the labelled share of the batch: giving few labels the weight
    of many made readouts on new records worse.

    Args:
        encoders: one for each modality; they share the fusion's width.
        fusion: maps the tokens of a subset of modalities to one vector.
        head: maps this vector to the space of CoMM's loss.
        label_head: maps it to the space of the supervised contrast.
        target: target whose classes are contrasted; may be empty if the data have one target of classes.
        label_weight: weight of the supervised contrast.
        label_temperature: temperature of the supervised contrast.
        parts: CoMM's other arguments.

    Example:
        >>> import torch
        >>> method = CoMMSup.build({"left": nn.Linear(3, 8), "right": nn.Linear(5, 8)}, width=8)
        >>> method.embed({"left": torch.rand(4, 3), "right": torch.rand(4, 5)}).shape
        torch.Size([4, 8])
    """

    views = Views(augmented=2, targets=True)

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        head: nn.Module,
        label_head: nn.Module,
        target: str = "",
        label_weight: float = 1.0,
        label_temperature: float = 0.1,
        **parts: Any,
    ) -> None:
        super().__init__(encoders, fusion, head, **parts)
        self.label_head = label_head
        self.target = target
        self.label_weight = label_weight
        self.label_temperature = label_temperature

    @classmethod
    def build(  # type: ignore[override]
        cls,
        encoders: Mapping[str, nn.Module],
        width: int,
        fusion: nn.Module | None = None,
        subsets: str = "each_and_all",
        temperature: TemperatureChoice = 0.1,
        embedding: Held = "fused",
        head: tuple[int, int] = HEAD,
        target: str = "",
        label_weight: float = 1.0,
        label_temperature: float = 0.1,
    ) -> CoMMSup:
        """Build CoMM as published, and SupCon with a head of the same sizes."""
        if not label_weight >= 0:
            raise ConfigurationError(f"method.label_weight is {label_weight}; give 0 or more.")
        if not label_temperature > 0:
            raise ConfigurationError(f"method.label_temperature is {label_temperature}; give more than 0.")
        parts = fused_parts(encoders, width, fusion, subsets, temperature, embedding, head)
        parts |= {"label_head": projection_head(width, *head), "target": target}
        return cls(**parts, label_weight=label_weight, label_temperature=label_temperature)

    def check_records(self, records: Records) -> None:
        self.target = class_target("comm-sup", self.target, records)

    def compare(self, rows: Rows) -> Step:
        step = super().compare(rows)
        target = self.target or next(iter(rows.targets))
        term, share = self.contrast_labelled(rows, rows.targets[target])
        return step.plus(f"labels: {target}", term, self.label_weight * share)

    def contrast_labelled(self, rows: Rows, classes: Tensor) -> tuple[Tensor, float]:
        """Return the supervised contrast of the labelled records, 0 if fewer than two, and their share."""
        labelled = classes >= 0
        projected = project_present(self.label_head, rows.stacked(self.modalities), labelled)
        share = float(labelled.double().mean())
        if labelled.sum() < 2:
            return 0.0 * projected.sum(), share
        first, second = (view[labelled] for view in projected.chunk(2))
        return supcon(first, second, classes[labelled], self.label_temperature), share


def class_target(method: str, wanted: str, records: Records) -> str:
    """Return the target whose classes a method learns from: the requested one, or the only one."""
    if isinstance(records, StreamedRecords):
        raise ConfigurationError(
            f"Method {method} learns from labels, but training on a streamed table reads none, because "
            "classes are numbered over all rows. Read the whole table by setting data.stream to 0, or choose "
            "a method that needs no labels, such as comm."
        )
    if not records.targets:
        raise ConfigurationError(
            f"Method {method} learns from labels, but the data have no target. Add one to the schema, or "
            "choose a method that needs none, such as comm."
        )
    if wanted and wanted not in records.targets:
        raise ConfigurationError(f"method.target: {unknown('target', wanted, records.targets)}")
    candidates = [wanted] if wanted else list(records.targets)
    usable = [name for name in candidates if name in records.classes]
    if not usable:
        raise ConfigurationError(
            f"Method {method} learns from one class per record, but {', '.join(candidates)} holds numbers or "
            "sets of labels. Choose another target with method.target. Numbers can be cut into classes, "
            "for example with pandas.qcut."
        )
    if len(usable) > 1:
        raise ConfigurationError(
            f"Method {method} learns from one target, but the data have {len(usable)}: {', '.join(usable)}. "
            "Name one with method.target."
        )
    if records.classes[usable[0]].max(initial=-1) < 1:
        raise ConfigurationError(
            f"Method {method} learns from classes, but the training rows have fewer than two of them in "
            f"'{usable[0]}'. Add labels, or choose a method that needs none, such as comm."
        )
    return usable[0]
