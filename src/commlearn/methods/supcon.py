"""SupCon: the fused embeddings of records of one class agree. Labels say what is worth keeping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from commlearn.batch import Batch, View, merge
from commlearn.errors import ConfigurationError, unknown
from commlearn.methods.base import Method, Step, Views
from commlearn.methods.rows import Rows, rows_of
from commlearn.models.fusion import Fusion
from commlearn.models.heads import projection_head
from commlearn.objectives import retrieval_accuracy, supcon
from commlearn.records import Records, class_codes
from commlearn.tables.streamed import StreamedRecords


class SupCon(Method):
    """Supervised contrastive learning of the full fusion.

    Args:
        encoders: one for each modality; they share the fusion's width.
        fusion: maps the tokens of a subset of modalities to one vector.
        head: maps this vector to the space of the loss.
        target: whose classes are contrasted; may stay empty where the data have one target of classes.
        temperature: of the contrast.

    Example:
        >>> import torch
        >>> from commlearn.batch import Modality
        >>> from commlearn.models.encoders import ENCODERS
        >>> encoders = {name: ENCODERS["linear"]((3,), width=8) for name in ("left", "right")}
        >>> view = {name: Modality(torch.ones(4, 3)) for name in encoders}
        >>> method = SupCon.build(encoders, width=8)
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
        super().__init__(encoders)
        self.fusion = fusion
        self.head = head
        self.target = target
        self.temperature = temperature

    @classmethod
    def build(
        cls,
        encoders: Mapping[str, nn.Module],
        width: int,
        fusion: nn.Module | None = None,
        target: str = "",
        temperature: float = 0.07,
    ) -> SupCon:
        """SupCon with CoMM's fusion and head."""
        return cls(encoders, fusion or Fusion(width), projection_head(width), target, temperature)

    def check_records(self, records: Records) -> None:
        self.target = class_target("supcon", self.target, records)

    def represent(self, batch: Batch) -> Rows:
        tokens = self.encode(merge(batch.augmented))  # each encoder runs once for both views
        return rows_of(batch, self.fusion(tokens, [self.modalities]))

    def compare(self, rows: Rows) -> Step:
        target = self.target or next(iter(rows.targets))
        first, second = self.head(rows.stacked(self.modalities)).chunk(2)
        loss = supcon(first, second, rows.targets[target], self.temperature)
        return Step(loss, {target: loss}, accuracy={target: retrieval_accuracy(first, second)})

    def embed(self, view: View, modalities: Sequence[str] | None = None) -> Tensor:
        subset = self.subset(modalities, view)
        return self.fusion(self.encode(view, subset), [subset])[subset]


def class_target(method: str, wanted: str, records: Records) -> str:
    """The target whose classes a method learns from: the wanted one, or the only one that there is."""
    if isinstance(records, StreamedRecords):
        raise ConfigurationError(
            f"Method {method} learns from labels, and a table that is streamed is trained on without them: "
            "classes are numbered over all rows. Read it whole with --data.stream 0, or choose a method that "
            "needs no labels, such as comm."
        )
    if not records.targets:
        raise ConfigurationError(
            f"Method {method} learns from labels, but the data have no target. State one in the schema, or "
            "choose a method that needs none, such as comm."
        )
    if wanted and wanted not in records.targets:
        raise ConfigurationError(f"method.target: {unknown('target', wanted, records.targets)}")
    candidates = [wanted] if wanted else list(records.targets)
    usable = [name for name in candidates if class_codes(records.targets[name]) is not None]
    if not usable:
        raise ConfigurationError(
            f"Method {method} learns from classes, one a record; {', '.join(candidates)} holds numbers or "
            "sets of labels. Give another target with --method.target."
        )
    if len(usable) > 1:
        raise ConfigurationError(
            f"Method {method} learns from one target, and the data have {len(usable)}: {', '.join(usable)}. "
            "Name one with --method.target."
        )
    return usable[0]
