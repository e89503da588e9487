"""Readout tasks of a comparison: a target, its labelled rows at each budget, and how readers are scored."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from commlearn.errors import ConfigurationError
from commlearn.probes import measures
from commlearn.probes.linear import as_outputs, label_matrix, label_names
from commlearn.probes.measures import draws
from commlearn.probes.probe import has_label
from commlearn.records import Dataset, Records
from commlearn.seeds import numpy_generator

ALL = "all"
BUDGETS = ("1%", "5%", "10%", "50%", ALL)
APART = 1.5  # smallest ratio between the numbers of labelled rows of successive budgets
DRAWS = 5  # draws of labelled rows at each budget
FEWEST = 2  # labelled rows per class, at least, if the budget is a share
FEWEST_ROWS = 10  # the same for targets without classes
RARE = 0.8  # above this share of the most frequent class, the score is the area under the ROC curve
FOLDS, MANY = (5, 3), 1000  # five folds for up to this many labelled rows, otherwise three
AT_A_TIME = 4_000_000  # weights that a measure is computed under at once, at most
SMOOTH = 1e-4  # probability added to every class before taking the logarithm


@dataclass(frozen=True)
class Task:
    """One target, with its values on the rows to fit on and on the rows to score."""

    name: str
    sort: str  # class, number or multilabel
    measure: str  # balanced_accuracy, auroc or r2
    train_rows: np.ndarray  # positions, among the rows to fit on, of those that have the target
    test_rows: np.ndarray  # the same among the rows to score
    train: np.ndarray  # (rows, outputs): one-hot classes, 0/1 labels or standardised numbers
    test: np.ndarray
    groups: np.ndarray | None = None
    test_groups: np.ndarray | None = None

    @property
    def chance(self) -> float:
        """Score of a guess."""
        return {"balanced_accuracy": 1 / self.train.shape[1], "auroc": 0.5, "r2": 0.0}[self.measure]

    @cached_property
    def weights(self) -> np.ndarray:
        """Weights of the test rows: ones, followed by their bootstrap samples, (1 + draws, rows)."""
        return np.concatenate(
            [measures.equal_weights(len(self.test)), *draws(self.strata, groups=self.test_groups)]
        )

    @property
    def strata(self) -> np.ndarray:
        """Strata of the bootstrap, which keep the class frequencies fixed."""
        return self.test.argmax(axis=1) if self.sort == "class" else np.zeros(len(self.test), dtype=np.int64)

    def scores(
        self, truth: np.ndarray, predicted: np.ndarray, prior: np.ndarray, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the measure under each row of weights, (draws,).

        The predicted class is the one whose probability most exceeds, as a ratio, its share `prior` among
        the labelled rows; this is optimal for the mean of the recalls.
        """
        weights = measures.equal_weights(len(truth)) if weights is None else weights
        if weights.size > AT_A_TIME and len(weights) > 1:
            parts = np.array_split(weights, min(len(weights), -(-weights.size // AT_A_TIME)))
            return np.concatenate([self.scores(truth, predicted, prior, part) for part in parts])
        with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # means over draws that lack a class
            if self.measure == "r2":
                return measures.mean_r2(predicted, truth, weights)
            if self.measure == "balanced_accuracy":
                guess = np.where(prior > 0, predicted / np.maximum(prior, 1e-9), -1.0).argmax(axis=1)
                codes = truth.argmax(axis=1)
                return measures.mean_recall(guess == codes, codes, weights)
            columns = slice(1, None) if self.sort == "class" and truth.shape[1] == 2 else slice(None)
            positive = truth[:, columns] > 0
            return measures.mean_over_labels(measures.auroc, predicted[:, columns], positive, weights)

    def losses(self, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return the loss of each row: log loss in nats, or for numbers the squared error in variances."""
        if self.sort == "number":
            return ((predicted - truth) ** 2).mean(axis=1)
        if self.sort == "class":
            smooth = (predicted + SMOOTH) / (predicted.sum(axis=1, keepdims=True) + SMOOTH * truth.shape[1])
            return -np.log(smooth[np.arange(len(truth)), truth.argmax(axis=1)])
        smooth = (predicted + SMOOTH) / (1 + 2 * SMOOTH)
        return -np.where(truth > 0, np.log(smooth), np.log(1 - smooth)).mean(axis=1)


@dataclass(frozen=True)
class Labelled:
    """The rows whose labels a readout may use, and the folds in which its settings are chosen."""

    task: Task
    rows: np.ndarray  # positions among the task's training rows
    folds: np.ndarray  # (rows,): number of each row's fold

    @cached_property
    def truth(self) -> np.ndarray:
        return self.task.train[self.rows]

    @property
    def prior(self) -> np.ndarray:
        """Share of each class among the labelled rows."""
        return self.truth.mean(axis=0)

    def mean_loss(self, predicted: np.ndarray) -> float:
        """Return the mean loss of the labelled rows, by which settings are chosen.

        If the score is balanced accuracy, probabilities are divided by their class's share, as for the
        prediction, and all classes count equally. Otherwise readers would sacrifice rare classes.
        """
        if self.task.measure != "balanced_accuracy":
            return float(self.task.losses(self.truth, predicted).mean())
        adjusted = predicted / np.maximum(self.prior, 1e-9)
        adjusted = adjusted / adjusted.sum(axis=1, keepdims=True)
        losses = self.task.losses(self.truth, adjusted)
        return float(np.average(losses, weights=1 / self.prior[self.truth.argmax(axis=1)]))

    @cached_property
    def rest(self) -> np.ndarray:
        """Training rows that are not labelled and share no group with labelled rows."""
        remaining = np.ones(len(self.task.train), dtype=bool)
        remaining[self.rows] = False
        if self.task.groups is not None:
            remaining &= ~np.isin(self.task.groups, self.task.groups[self.rows])
        return np.flatnonzero(remaining)

    def parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield, for each fold, the positions among the labelled rows to fit on and those held out."""
        for fold in np.unique(self.folds):
            yield np.flatnonzero(self.folds != fold), np.flatnonzero(self.folds == fold)


def labelled_rows(task: Task, budget: str, draw: int = 0) -> Labelled:
    """Draw labelled training rows up to a budget.

    The budget is a share of the labels (`5%`), a number per class (`20`; of rows if there are no classes),
    or `all`.
    """
    generator = numpy_generator(draw, "labelled rows")
    if budget == ALL:
        rows = np.arange(len(task.train))
    elif task.sort == "class":
        codes = task.train.argmax(axis=1)
        by_class = [generator.permutation(np.flatnonzero(codes == code)) for code in np.unique(codes)]
        drawn = [members[: _count(budget, len(members), FEWEST)] for members in by_class]
        rows = np.sort(np.concatenate(drawn))
    else:
        order = generator.permutation(len(task.train))
        rows = np.sort(order[: max(2, _count(budget, len(order), FEWEST_ROWS))])  # two, as one is held out
    return Labelled(task, rows, _folds(task, rows))


def budgets_of(task: Task, budgets: Sequence[str]) -> list[str]:
    """Return the budgets that differ enough on this target, in ascending order, followed by all labels."""
    sizes = {budget: len(labelled_rows(task, budget).rows) for budget in budgets if budget != ALL}
    chosen, least = [], 1.0
    for budget in sorted(sizes, key=lambda budget: sizes[budget]):
        if least <= sizes[budget] <= len(task.train) / APART:
            chosen.append(budget)
            least = APART * sizes[budget]
    return [*chosen, ALL]


def checked_budgets(budgets: Sequence[str | int] | str | int | None) -> tuple[str, ...]:
    """Return one or several budgets as text; raise an error that shows valid formats if one is malformed.

    Example:
        >>> checked_budgets([20, "5%", "all"])
        ('20', '5%', 'all')
    """
    budgets = BUDGETS if budgets is None else budgets
    several = budgets if isinstance(budgets, Iterable) and not isinstance(budgets, str) else [budgets]
    checked = tuple(str(budget).strip() for budget in several)
    for budget in checked:
        number = budget.removesuffix("%")
        is_count = budget.isdecimal() and int(budget) > 0
        is_share = (
            budget.endswith("%") and number.replace(".", "", 1).isdecimal() and 0 < float(number) <= 100
        )
        if budget != ALL and not is_count and not is_share:
            raise ConfigurationError(
                f"Budget of labels '{budget}': give a share of the labels such as 5%, a number of labels "
                "per class such as 20, or all."
            )
    return checked


def task_of(data: Dataset, name: str, sort: str) -> Task:
    """Return a target of the data set as a task, with its labels as numbers."""
    (train_rows, train_values), (test_rows, test_values) = (
        _labelled(records, name) for records in (data.fit, data.test)
    )
    groups, test_groups = data.fit.held_together, data.test.resampled
    groups = None if groups is None else groups[train_rows]
    test_groups = None if test_groups is None else test_groups[test_rows]
    train: np.ndarray
    test: np.ndarray
    if sort == "class":
        all_values = np.concatenate([train_values, test_values])
        all_values = all_values.astype(str) if all_values.dtype == object else all_values
        classes, codes = np.unique(all_values, return_inverse=True)
        one_hot = np.eye(len(classes), dtype=np.float32)[codes]
        train, test = one_hot[: len(train_values)], one_hot[len(train_values) :]
        rare = np.count_nonzero(test.sum(axis=0)) > 1 and train.mean(axis=0).max() > RARE
        measure = "auroc" if rare else "balanced_accuracy"
    elif sort == "multilabel":
        labels, measure = label_names(train_values), "auroc"
        train, test = (
            label_matrix(values, labels).astype(np.float32) for values in (train_values, test_values)
        )
    else:
        train_numbers, test_numbers = as_outputs(train_values), as_outputs(test_values)
        centre, scale = train_numbers.mean(axis=0), np.maximum(train_numbers.std(axis=0), 1e-12)
        train, test = (train_numbers - centre) / scale, (test_numbers - centre) / scale
        measure = "r2"
    return Task(name, sort, measure, train_rows, test_rows, train, test, groups, test_groups)


def _labelled(records: Records, name: str) -> tuple[np.ndarray, np.ndarray]:
    rows = np.flatnonzero(has_label(records.targets[name]))
    return rows, records.targets[name][rows]


def _count(budget: str, members: int, fewest: int) -> int:
    if budget.endswith("%"):
        return max(fewest, round(float(budget[:-1]) / 100 * members))
    return int(budget)


def _folds(task: Task, rows: np.ndarray) -> np.ndarray:
    """Return each labelled row's fold; groups stay whole and folds are stratified where counts allow."""
    truth, groups = task.train[rows], None if task.groups is None else task.groups[rows]
    count = min(FOLDS[len(rows) > MANY], len(rows) if groups is None else len(np.unique(groups)))
    if count < 2:  # a single group: its rows are divided after all
        groups, count = None, min(FOLDS[0], len(rows))
    codes = truth.argmax(axis=1) if task.sort == "class" else None
    if codes is not None:
        fewest = np.unique(codes, return_counts=True)[1].min()
        if fewest < 2:
            codes = None
        else:
            count = max(2, min(count, fewest))
    options = {"shuffle": True, "random_state": 0}
    if groups is None:
        splitter = KFold(count, **options) if codes is None else StratifiedKFold(count, **options)
    else:
        splitter = GroupKFold(count) if codes is None else StratifiedGroupKFold(count, **options)
    folds = np.zeros(len(rows), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about classes with fewer rows than folds
        for number, (_, held) in enumerate(splitter.split(rows, codes, groups)):
            folds[held] = number
    return folds
