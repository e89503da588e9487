"""Settings of a report: how thorough it is."""

from __future__ import annotations

from dataclasses import dataclass

from commlearn.errors import ConfigurationError, Problems

_FEW_RECORDS = 800  # number of records below which the division into folds matters


@dataclass(frozen=True)
class Settings:
    """Settings of a report; the documented figures were measured with the defaults."""

    folds: int = 5  # number of folds; each record is judged by experts that did not see its fold
    repeats: int | None = None  # divisions into folds to average over; default: 2 below 800 records, else 1
    level: float = 0.9  # confidence level of the intervals
    bootstrap: int = 30  # resamplings of the records, for the intervals of parts near zero
    permutations: int = 119  # permutations in each null test
    bins: int | None = None  # number of quantile classes of a continuous target; 8 if not given
    components: int = 64  # most principal components of a modality
    curve: bool = True  # repeat on halves, to see whether more data would change the answer
    seed: int = 0

    def __post_init__(self) -> None:
        problems = Problems("settings")
        for name, minimum in (("folds", 2), ("bootstrap", 0), ("permutations", 19), ("components", 1)):
            if getattr(self, name) < minimum:
                problems.add(f"{name} is {getattr(self, name)}; give at least {minimum}")
        if self.repeats is not None and self.repeats < 1:
            problems.add(f"repeats is {self.repeats}; give at least 1")
        if not 0.5 <= self.level < 1:
            problems.add(f"level is {self.level}; give a share from 0.5 to less than 1, such as 0.9")
        if self.bins is not None and self.bins < 2:
            problems.add(f"bins is {self.bins}; give at least 2 classes")
        # scikit-learn's limit, less what further divisions add
        maximum = 2**32 - 1 - 1000 * (self.repeats or 2)
        if not 0 <= self.seed <= maximum:
            problems.add(f"seed is {self.seed}; give a whole number from 0 to {maximum}")
        problems.raise_if_any(ConfigurationError)

    def repeats_of(self, records: int) -> int:
        """Return how many times the records are divided into folds."""
        return self.repeats or (2 if records < _FEW_RECORDS else 1)
