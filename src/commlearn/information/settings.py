"""How thoroughly a report is made."""

from __future__ import annotations

from dataclasses import dataclass

from commlearn.errors import ConfigurationError, Problems

_FEW_RECORDS = 800  # below which it matters who is in which fold


@dataclass(frozen=True)
class Settings:
    """Settings of a report; the defaults are those that the documented figures were measured with."""

    folds: int = 5  # each record is judged by experts that did not see its fold
    repeats: int | None = None  # divisions into folds, averaged; 2 below 800 records and else 1 if not given
    level: float = 0.9  # of the intervals
    bootstrap: int = 30  # resamplings of the records, for the intervals of parts near zero
    permutations: int = 119  # of the null tests
    bins: int | None = None  # quantile classes of a continuous target; 8 if not given
    components: int = 64  # principal components of a modality, at most
    curve: bool = True  # repeat on halves: does more data change the answer?
    seed: int = 0

    def __post_init__(self) -> None:
        problems = Problems("settings")
        for name, least in (("folds", 2), ("bootstrap", 0), ("permutations", 19), ("components", 1)):
            if getattr(self, name) < least:
                problems.add(f"{name} is {getattr(self, name)}; give at least {least}")
        if self.repeats is not None and self.repeats < 1:
            problems.add(f"repeats is {self.repeats}; give at least 1")
        if not 0.5 <= self.level < 1:
            problems.add(f"level is {self.level}; give a share from 0.5 to less than 1, such as 0.9")
        if self.bins is not None and self.bins < 2:
            problems.add(f"bins is {self.bins}; give at least 2 classes")
        most = 2**32 - 1 - 1000 * (self.repeats or 2)  # scikit-learn's, less those of further divisions
        if not 0 <= self.seed <= most:
            problems.add(f"seed is {self.seed}; give a whole number from 0 to {most}")
        problems.raise_if_any(ConfigurationError)

    def repeats_of(self, records: int) -> int:
        """How often records are divided into folds."""
        return self.repeats or (2 if records < _FEW_RECORDS else 1)
