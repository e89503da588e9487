"""The decomposition, compared with exact values, its identities and slow second implementations."""

from __future__ import annotations

import importlib
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_decompositions import KnownPair, KnownTriple, known_pairs, known_triples

from commlearn.errors import DataError
from commlearn.information.pid import Pid, broja, order_spectrum, union_information
from commlearn.information.pid.marginals import checked_marginals, entropy, reduce_marginals
from commlearn.information.pid.union_information import (
    all_cells,
    possible_cells,
    price,
    price_nearby,
    solve_by_columns,
)
from commlearn.information.pid.union_solver import solve_on_cells

EXACT = 1e-4
PARTS = ("redundant", "unique1", "unique2", "synergistic")
MOST_CASES = settings(max_examples=30, deadline=None, derandomize=True)


def parts(pid: Pid) -> np.ndarray:
    return np.array([getattr(pid, name) for name in PARTS])


def singles(table: np.ndarray) -> list[np.ndarray]:
    """Return p(x_i, y) of every modality, by summing over the others one axis at a time."""
    count = table.ndim - 1
    marginals = []
    for place in range(count):
        marginal = table
        for axis in reversed(range(count)):
            if axis != place:
                marginal = marginal.sum(axis=axis)
        marginals.append(marginal)
    return marginals


@st.composite
def joint_tables(draw: st.DrawFn, modalities: int = 2, classes: tuple[int, int] = (1, 4)) -> np.ndarray:
    """Draw random tables, from nearly deterministic to nearly uniform, with some cells and rows empty."""
    sizes = [draw(st.integers(1, 4)) for _ in range(modalities)] + [draw(st.integers(*classes))]
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    concentration = draw(st.sampled_from([0.02, 0.2, 1.0, 10.0]))
    table = random.dirichlet(np.full(np.prod(sizes), concentration)).reshape(sizes)
    table *= random.random(sizes) > draw(st.sampled_from([0.0, 0.3, 0.7]))
    table.flat[0] += 1e-3
    return table / table.sum()


# ---------------------------------------------------------------------------------------------- exact values


@pytest.mark.parametrize("case", known_pairs(), ids=lambda case: case.name)
def test_two_modalities_match_the_exact_values(case: KnownPair) -> None:
    solved = broja(case.table)
    exact = [case.redundant, case.unique1, case.unique2, case.synergistic]
    assert parts(solved) == pytest.approx(exact, abs=EXACT)
    assert solved.total == pytest.approx(case.total, abs=EXACT)
    assert 0 <= solved.gap <= EXACT


@pytest.mark.parametrize("case", known_triples(), ids=lambda case: case.name)
def test_three_modalities_match_the_exact_values(case: KnownTriple) -> None:
    solved = order_spectrum(case.table)
    assert solved.spectrum == pytest.approx(case.spectrum, abs=EXACT)
    assert solved.unique == pytest.approx(case.unique, abs=EXACT)
    assert solved.non_exclusive == pytest.approx(case.non_exclusive, abs=EXACT)
    assert sum(solved.shapley) == pytest.approx(solved.total, abs=1e-9)
    assert 0 <= solved.gap <= EXACT


def test_shapley_and_ladder_by_hand() -> None:
    table = np.zeros((2, 2, 2))  # y = x1 AND x2
    for a, b in np.ndindex(2, 2):
        table[a, b, a & b] = 0.25
    solved = order_spectrum(table)
    alone, both = 0.31127812, 0.81127812
    assert solved.ladder == pytest.approx({(): 0, (0,): alone, (1,): alone, (0, 1): both}, abs=1e-7)
    assert solved.shapley == pytest.approx((both / 2, both / 2), abs=1e-7)


# ---------------------------------------------------------------------------------------------- identities


@MOST_CASES
@given(joint_tables())
def test_parts_sum_to_the_total_and_none_is_negative(table: np.ndarray) -> None:
    solved = broja(table)
    assert parts(solved).sum() == pytest.approx(solved.total, abs=1e-9)
    assert parts(solved).min() >= 0
    assert 0 <= solved.gap <= 1e-5


@MOST_CASES
@given(joint_tables())
def test_swapping_the_modalities_swaps_the_unique_parts(table: np.ndarray) -> None:
    swapped = parts(broja(table.swapaxes(0, 1)))
    assert parts(broja(table))[[0, 2, 1, 3]] == pytest.approx(swapped, abs=1e-5)


@MOST_CASES
@given(joint_tables(), st.integers(0, 100))
def test_names_of_values_do_not_matter(table: np.ndarray, seed: int) -> None:
    random = np.random.default_rng(seed)
    renamed = table[np.ix_(*(random.permutation(size) for size in table.shape))]
    assert parts(broja(renamed)) == pytest.approx(parts(broja(table)), abs=1e-5)


@MOST_CASES
@given(joint_tables(), st.floats(0.01, 0.99))
def test_splitting_a_value_into_two_copies_changes_nothing(table: np.ndarray, share: float) -> None:
    split = np.concatenate([share * table[:1], (1 - share) * table[:1], table[1:]])
    assert parts(broja(split)) == pytest.approx(parts(broja(table)), abs=1e-5)


@MOST_CASES
@given(joint_tables(modalities=3))
def test_coarsening_a_modality_never_adds_union_information(table: np.ndarray) -> None:
    marginals = singles(table)
    coarse = [marginals[0], np.add.reduceat(marginals[1], range(0, len(marginals[1]), 2)), marginals[2]]
    assert union_information(coarse).lower <= union_information(marginals).upper + 1e-9


@MOST_CASES
@given(joint_tables(modalities=3))
def test_the_spectrum_sums_to_the_total_and_nothing_is_negative(table: np.ndarray) -> None:
    solved = order_spectrum(table)
    assert sum(solved.spectrum) == pytest.approx(solved.total, abs=1e-9)
    assert min(solved.spectrum + solved.unique) >= 0
    assert sum(solved.shapley) == pytest.approx(solved.total, abs=1e-9)
    assert solved.gap <= 1e-5


@MOST_CASES
@given(joint_tables())
def test_the_spectrum_of_two_modalities_is_their_decomposition(table: np.ndarray) -> None:
    pair, spectrum = broja(table), order_spectrum(table)
    assert spectrum.unique == pytest.approx((pair.unique1, pair.unique2), abs=1e-5)
    assert spectrum.non_exclusive == pytest.approx(pair.redundant, abs=1e-5)
    assert spectrum.spectrum[1] == pytest.approx(pair.synergistic, abs=1e-5)


# ---------------------------------------------------------------------------------------------- certificates


@MOST_CASES
@given(joint_tables(modalities=3))
def test_influence_functions_are_feasible_and_attain_the_lower_bound(table: np.ndarray) -> None:
    marginals = singles(table)
    union = union_information(marginals)
    first, second, third = union.influence
    score = first[:, None, None, :] + second[None, :, None, :] + third[None, None, :, :]
    assert (2.0**score).sum(axis=-1).max() <= 1 + 1e-12
    attained = sum((p * a).sum() for p, a in zip(marginals, union.influence, strict=True))
    assert entropy(table.sum(axis=(0, 1, 2))) / np.log(2) + attained == pytest.approx(union.lower, abs=1e-7)
    assert union.lower <= union.upper


@MOST_CASES
@given(joint_tables(modalities=3, classes=(2, 2)))
def test_two_classes_agree_with_the_general_solver(table: np.ndarray) -> None:
    union = union_information(singles(table))
    assert union.gap <= 1e-9
    reduced = reduce_marginals(checked_marginals(singles(table)))
    if len(reduced.labels) == 2:
        sizes = [len(part) for part in reduced.tables]
        solved = solve_on_cells(reduced.tables, possible_cells(reduced.tables, all_cells(sizes)), 1e-7)
        label_entropy = entropy(table.sum(axis=(0, 1, 2)))
        assert (label_entropy + solved.value) / np.log(2) <= union.upper + 1e-9
        assert (label_entropy - solved.entropy) / np.log(2) >= union.lower - 1e-9
        assert solved.gap <= 1e-6


def minimal_information(table: np.ndarray, rounds: int = 3000) -> float:
    """Compute I_u in bits by alternation (Banerjee et al. 2018): slow, from above, and not certified.

    I_u is the minimum of KL(q(x, y) || r(x) p(y)) over r(x) and over q with the right marginals. Given q, the
    best r is q(x). Given r, the best q is found by fitting the marginals in turn.
    """
    first, second, target = table.sum(axis=1), table.sum(axis=0), table.sum(axis=(0, 1))
    q = np.einsum("ay,by,y->aby", first, second, 1 / target)
    for _ in range(rounds):
        q = q.sum(axis=2)[:, :, None] * target
        for _ in range(30):
            q = q * (first / q.sum(axis=1))[:, None, :]
            q = q * (second / q.sum(axis=0))[None, :, :]
    independent = q.sum(axis=2)[:, :, None] * target
    some = q > 0
    return float((q[some] * np.log2(q[some] / independent[some])).sum())


@pytest.mark.parametrize("shape", [(2, 2, 3), (3, 2, 3), (3, 3, 3)])
@pytest.mark.parametrize("seed", range(2))
def test_a_slow_alternation_finds_the_same_union_information(shape: tuple[int, ...], seed: int) -> None:
    table = np.random.default_rng(seed).dirichlet(np.ones(np.prod(shape))).reshape(shape)
    union = union_information(singles(table))
    assert union.gap <= 1e-6
    assert minimal_information(table) == pytest.approx(union.lower, abs=EXACT)


@pytest.mark.parametrize("concentration", [0.003, 0.1, 1.0, 10.0])
def test_random_tables_are_certified_in_time(concentration: float) -> None:
    table = np.random.default_rng(0).dirichlet(np.full(4000, concentration)).reshape(20, 20, 10)
    spent = []
    for _ in range(3):
        start = time.process_time()
        gap = broja(table).gap
        spent.append(time.process_time() - start)
    assert gap <= 1e-5
    assert min(spent) <= 0.5


@pytest.mark.parametrize("case", [k for k in known_pairs() if k.table.size <= 27], ids=lambda k: k.name)
def test_dit_agrees(case: KnownPair) -> None:
    """dit minimises from random starts and may stop early: no try is below the minimum, the best is at it."""
    dit = pytest.importorskip("dit")
    pid = pytest.importorskip("dit.pid")
    cells = np.argwhere(case.table > 0)
    names = ["".join(map(str, cell)) for cell in cells]
    joint = dit.Distribution(names, [float(case.table[tuple(cell)]) for cell in cells])
    nodes = (((0,), (1,)), ((0,),), ((1,),), ((0, 1),))
    solved = parts(broja(case.table))
    differences = []
    while not differences or (len(differences) < 8 and min(differences) > EXACT):
        other = pid.PID_BROJA(joint, [[0], [1]], [2])
        values = np.array([float(other.get_pi(node)) for node in nodes])
        assert values[1] >= solved[1] - 1e-5
        differences.append(np.abs(values - solved).max())
    assert min(differences) <= EXACT


# ---------------------------------------------------------------------------------------------- many cells


def independent_marginals(sizes: list[int], classes: int, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    target = random.dirichlet(np.full(classes, 5.0))
    return [random.dirichlet(np.full(size, 0.5), size=classes).T * target for size in sizes]


@pytest.mark.parametrize(("sizes", "classes"), [([8, 7, 6], 4), ([12, 11], 5), ([4, 3, 5, 4], 3)])
def test_a_growing_list_of_cells_finds_what_all_cells_find(sizes: list[int], classes: int) -> None:
    tables = independent_marginals(sizes, classes, seed=1)
    listed = solve_by_columns(tables, 1e-6)
    direct = solve_on_cells(tables, all_cells(sizes), 1e-6)
    assert listed.gap <= 1e-6
    assert listed.value == pytest.approx(direct.value, abs=2e-6)


def test_pricing_sees_the_worst_of_all_cells() -> None:
    random = np.random.default_rng(3)
    influence = [random.normal(size=(size, 3)) - 0.5 for size in (5, 4, 6)]
    cells = all_cells([5, 4, 6])
    score = sum(part[rows] for part, rows in zip(influence, cells.T, strict=True))
    excess = np.log(np.exp(score).sum(axis=1))
    worst, violated = price(influence, cells[:1], most=10)
    assert worst == pytest.approx(excess.max())
    assert (violated == cells[np.argsort(-excess)[:10]]).all()
    assert price_nearby(influence, cells)[0] == pytest.approx(excess.max())


def test_bounds_hold_when_cells_are_too_many_to_price(monkeypatch: pytest.MonkeyPatch) -> None:
    marginals = independent_marginals([5, 5, 5, 5], classes=3, seed=2)
    exact = union_information(marginals)
    module = importlib.import_module("commlearn.information.pid.union_information")
    monkeypatch.setattr(module, "_DIRECT", 0)
    monkeypatch.setattr(module, "_PRICED", 125)
    bounded = union_information(marginals)
    assert bounded.lower <= exact.upper
    assert exact.lower - 1e-9 <= bounded.upper <= exact.upper + 1e-3
    assert bounded.gap > 1e-4


# ---------------------------------------------------------------------------------------------- odd tables


def test_a_single_class_holds_no_information() -> None:
    solved = broja(np.full((3, 2, 1), 1 / 6))
    assert parts(solved) == pytest.approx(np.zeros(4), abs=1e-12)
    assert solved.gap == pytest.approx(0, abs=1e-12)


def test_one_valued_modalities_say_nothing() -> None:
    solved = broja(np.eye(3)[:, None, :] / 3)
    assert parts(solved) == pytest.approx([0, np.log2(3), 0, 0], abs=1e-9)
    assert parts(broja(np.full((1, 1, 4), 0.25))) == pytest.approx(np.zeros(4), abs=1e-12)


def test_values_and_classes_that_never_occur_change_nothing() -> None:
    table = np.random.default_rng(0).dirichlet(np.ones(36)).reshape(3, 4, 3)
    padded = np.zeros((5, 5, 5))
    padded[1:4, :4, 2:] = table
    assert parts(broja(padded)) == pytest.approx(parts(broja(table)), abs=1e-6)
    assert all(np.isfinite(part).all() for part in union_information(singles(padded)).influence)


@pytest.mark.parametrize("spread", [3.0, 10.0, 30.0])
def test_masses_of_many_orders_of_magnitude_are_certified(spread: float) -> None:
    table = np.exp(spread * np.random.default_rng(4).normal(size=(8, 8, 4)))
    assert broja(table / table.sum()).gap <= 1e-5


def test_one_modality_has_nothing_but_unique_information() -> None:
    solved = order_spectrum(np.eye(3) / 3)
    assert solved.spectrum == pytest.approx((np.log2(3),))
    assert solved.unique == pytest.approx((np.log2(3),))
    assert solved.non_exclusive == pytest.approx(0, abs=1e-12)


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.full((2, 2, 2), 0.25), "sums to 2; divide it by its sum"),
        (np.array([[[1.5], [-0.5]]]), r"p is -0.5 at \(0, 1, 0\)"),
        (np.array([[[np.nan], [1.0]]]), r"p is nan at \(0, 0, 0\)"),
        (np.eye(2) / 2, r"p has 2 axes, shape \(2, 2\)"),
        (np.full((1, 1, 1, 1), 1.0), "use order_spectrum"),
        (np.zeros((0, 2, 2)), "p is empty"),
        ([["a"]], "not an array of numbers"),
    ],
)
def test_tables_that_are_no_distribution_are_refused(table: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        broja(table)


def test_marginals_of_different_targets_are_refused_with_the_largest_difference() -> None:
    with pytest.raises(DataError, match=r"difference is 0.1: class 0 has 0.5 in marginal 0 and 0.6 in marg"):
        union_information([np.array([[0.5, 0.5]]), np.array([[0.6, 0.4]])])
    with pytest.raises(DataError, match="marginal 1 has 3 classes, marginal 0 has 2"):
        union_information([np.array([[0.5, 0.5]]), np.array([[0.5, 0.25, 0.25]])])
    with pytest.raises(DataError, match="no marginals"):
        union_information([])
    with pytest.raises(DataError, match="shape"):
        union_information([np.full((1, 1, 1), 1.0)])


def test_tables_too_large_to_solve_are_refused() -> None:
    random = np.random.default_rng(0)
    marginals = [random.dirichlet(np.ones(250), size=30).T / 30 for _ in range(2)]
    with pytest.raises(DataError, match="Quantise the posteriors more coarsely"):
        union_information(marginals)
