"""CoMM: contrast multimodal views of a record instead of its modalities (ICLR 2025).

The whole idea: draw two augmented versions of the *whole* multimodal record, fuse each subset of
its modalities into one vector with one network, and make every subset agree with the full fusion
of the other version. The full term reaches shared, unique and synergistic information; the term of
one modality reaches what it shares and what is unique to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from commlearn.batch import Batch, Modality, Subset, subset_name, view_of
from commlearn.methods.base import FusingMethod, Step, Views, accuracies, term_weights, weighted_mean
from commlearn.methods.rows import Rows, rows_of
from commlearn.models.fused_parts import Contrast, Held, Objective, SelfPrediction, fused_parts, objective_of
from commlearn.models.heads import HEAD, TemperatureChoice, term_temperatures
from commlearn.models.token_means import TokenMeans
from commlearn.models.tokens import project_present
from commlearn.objectives import comm_terms


class CoMM(FusingMethod):
    """Contrastive MultiModal learning.

    Args:
        encoders: one for each modality; they share the fusion's width. `build` also takes plain modules
            that turn a tensor into a vector, (batch, width), or tokens, (batch, length, width).
        fusion: maps the tokens of a subset of modalities to one vector.
        head: maps this vector to the space of the loss.
        subsets: subsets to contrast with the full fusion; by default each modality alone, and all.
        temperature: a number, or a module if it is learned, changes in training or differs between terms.
        weights: weights of the terms, by subset name; 1 by default.
        beside: makes the vectors that an embedding holds next to the fused vector, if any.
        objective: makes the terms from the projections: `comm_terms`, or an objective without negatives,
            which ignores the temperature.
        prediction: heads that predict each modality from the fused vectors, in addition to the contrast.

    Example:
        >>> import torch
        >>> model = CoMM.build({"left": nn.Linear(3, 8), "right": nn.Linear(5, 8)}, width=8)
        >>> view = {"left": torch.rand(4, 3), "right": torch.rand(4, 5)}
        >>> first, second = model(view, view)  # projections, for CoMMLoss
        >>> model.embed(view).shape, model.embed(view, ["left"]).shape, first["left+right"].shape
        (torch.Size([4, 8]), torch.Size([4, 8]), torch.Size([4, 256]))
    """

    views = Views(augmented=2)

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        head: nn.Module,
        subsets: Sequence[Subset] | None = None,
        temperature: float | nn.Module = 0.1,
        weights: Mapping[str, float] | None = None,
        beside: TokenMeans | None = None,
        objective: Objective = comm_terms,
        prediction: SelfPrediction | None = None,
    ) -> None:
        super().__init__(encoders, fusion, head, subsets, temperature, beside, prediction)
        self.weights, self.objective = term_weights(weights or {}, self.subsets), objective

    @classmethod
    def build(
        cls,
        encoders: Mapping[str, nn.Module],
        width: int,
        fusion: nn.Module | None = None,
        subsets: str = "each_and_all",
        temperature: TemperatureChoice = 0.1,
        weights: dict[str, float] | None = None,
        embedding: Held = "fused",
        head: tuple[int, int] = HEAD,
        contrast: Contrast = "infonce",
        prediction: float = 0.0,
    ) -> CoMM:
        """Build CoMM with its published fusion and head.

        `embedding` may add each modality's mean token, or textures. `prediction` is the weight of the mean
        squared error of predicting each modality of the record's other version from the fused vectors.
        """
        objective = objective_of(contrast, temperature)
        parts = fused_parts(encoders, width, fusion, subsets, temperature, embedding, head, prediction)
        return cls(**parts, weights=weights, objective=objective)

    def represent(self, batch: Batch) -> Rows:
        """Return the fused vector of every subset of modalities, from both augmented views of each record."""
        return rows_of(batch, self.fused_views(batch)[1])

    def project(self, rows: Rows) -> tuple[dict[Subset, Tensor], dict[Subset, Tensor]]:
        """Return the projection of every subset of modalities, for each of the two views."""
        first, second, present = {}, {}, self.present(rows)
        for subset in self.projected:
            projected = project_present(self.head_of(subset), rows.stacked(subset), present.get(subset))
            first[subset], second[subset] = projected.chunk(2)
        return first, second

    def compare(self, rows: Rows) -> Step:
        """Return the loss: every subset must agree with the full fusion of the record's other view."""
        return self.contrast(*self.project(rows), rows)

    def contrast(self, first: Mapping[Subset, Tensor], second: Mapping[Subset, Tensor], rows: Rows) -> Step:
        """Return the weighted mean of the terms, from the projections of both views."""
        full, present = self.modalities, self.present(rows)
        temperatures = term_temperatures(self.temperature, first, full, rows.progress)
        all_terms = self.objective(first, second, full, temperatures, present, rows.groups)
        terms = {subset: all_terms[subset] for subset in self.subsets}
        accuracy = accuracies({subset: (first[subset], second[full]) for subset in terms}, present)
        by_name = {subset_name(subset): term for subset, term in terms.items()}
        return self.with_prediction(
            Step(weighted_mean(terms, self.weights), by_name, accuracy=accuracy), rows
        )

    def embed(self, view: Mapping[str, Tensor | Modality], modalities: Sequence[str] | None = None) -> Tensor:
        """Return embeddings of the records, (batch, dim), from all or some modalities.

        Plain tensors are accepted in place of a `Modality`.
        """
        view = view_of(view)
        tokens = self.encode(view, self.subset(modalities, view))
        fused = self.fuse(tokens, tuple(tokens))
        return self.with_beside(tokens, fused)
