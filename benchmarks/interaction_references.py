"""Compare the interaction report, and its solver, with other estimators.

Run `python benchmarks/interaction_references.py` (a quarter of an hour on one core), or name parts of it:

    kinds       the report and two other estimators on the held-out kinds of two modalities (`--records 1000`)
    dit         dit's BROJA on twelve random tables, compared with certified values
    idtxl       idtxl's two solvers (Tartu, Sydney) on textbook gates and random tables
    intershap   the report on InterSHAP's data sets at 1 000 and 4 000 records, with InterSHAP's score

The estimators of `kinds` are

    this library        experts, posteriors in cells, the convex program (BROJA)
    k-means             BROJA of the table of counts over 16 clusters per modality, the published way
    nearest             Ross's nearest-neighbour estimate of each class's information (PLoS ONE 9(2), 2014);
                        the shared part is the smaller one of each class: I_min of Williams and Beer

The last one estimates a different measure of shared information, so its error is also given relative to that
measure's exact value. dit and idtxl (`idtxl-uv` and `ecos` on PyPI) are not dependencies: if its package is
not installed, a part prints this and is skipped.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from interaction_truths import Kind, held_out_kinds
from interactions import ATOMS, estimated, print_line, with_intervals
from intershap_sets import drawn, intershap, recipes
from scipy.spatial import cKDTree
from scipy.special import digamma
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

from commlearn.information import Settings
from commlearn.information.pid import Pid, broja
from commlearn.information.pid.marginals import Array
from commlearn.seeds import numpy_generator

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from known_decompositions import known_pairs

NEIGHBOURS = 3
CLUSTERS = 16
SMALL = ((2, 2, 2), (3, 2, 2), (3, 3, 2), (3, 3, 3))  # shapes of random tables
LARGE = ((5, 5, 3), (10, 10, 5), (10, 10, 10), (20, 20, 10))


def random_table(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).dirichlet(np.full(int(np.prod(shape)), 0.5)).reshape(shape)


def plug_in(arrays: dict[str, Array], target: np.ndarray) -> Array:
    """Return BROJA's parts of the table of counts over clusters."""
    cells = [
        KMeans(CLUSTERS, n_init=3, random_state=0).fit_predict(StandardScaler().fit_transform(rows))
        for rows in arrays.values()
    ]
    table = np.zeros((CLUSTERS, CLUSTERS, int(target.max()) + 1))
    np.add.at(table, (*cells, target), 1 / len(target))
    return of_broja(table)


def of_broja(table: Array) -> Array:
    exact = broja(table, 1e-4)
    return np.array([getattr(exact, name) for name in ATOMS])


def nearest_neighbours(arrays: dict[str, Array], target: np.ndarray) -> Array:
    """Return the atoms of I_min from Ross's local estimates."""
    rows = [StandardScaler().fit_transform(part) for part in arrays.values()]
    first, second, both = (local_bits(part, target) for part in (*rows, np.concatenate(rows, axis=1)))
    share = np.bincount(target) / len(target)
    by_class = [[part[target == label].mean() for label in range(len(share))] for part in (first, second)]
    shared = float(share @ np.min(by_class, axis=0))
    return atoms_of(shared, first.mean(), second.mean(), both.mean())


def local_bits(rows: Array, target: np.ndarray) -> Array:
    """Return each record's contribution to I(X; Y): psi(N) - psi(N_y) + psi(k) - psi(m)."""
    tree, local = cKDTree(rows), np.zeros(len(rows))
    for label in np.unique(target):
        members = np.flatnonzero(target == label)
        near = min(NEIGHBOURS, len(members) - 1)
        reach = cKDTree(rows[members]).query(rows[members], near + 1, p=np.inf)[0][:, -1]
        around = tree.query_ball_point(rows[members], np.nextafter(reach, 0), p=np.inf, return_length=True)
        seen = np.maximum(around, near)
        local[members] = digamma(len(rows)) - digamma(len(members)) + digamma(near) - digamma(seen)
    return local / np.log(2)


def atoms_of(shared: float, first: float, second: float, both: float) -> Array:
    return np.array([shared, first - shared, second - shared, both - first - second + shared])


def exact_i_min(table: Array) -> Array:
    """Return the exact atoms of I_min, by its definition."""
    share = table.sum(axis=(0, 1))
    bits, specific = [], []
    for joint in (table.sum(axis=1), table.sum(axis=0), table.reshape(-1, table.shape[2])):
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = joint * np.log2(joint / joint.sum(axis=1, keepdims=True) / share)
        terms = np.nan_to_num(gain).sum(axis=0)
        bits.append(terms.sum())
        specific.append(terms / share)
    return atoms_of(float(share @ np.minimum(*specific[:2])), *bits)


def compare(kinds: list[Kind], records: int, seed: int) -> None:
    """Print the largest error of the four parts, for every kind and every estimator."""
    print_row(
        f"largest error in bits, n = {records}", ["this library", "k-means", "nearest", "nearest, I_min"]
    )
    errors, spent = [], np.zeros(3)
    for kind in kinds:
        table = kind.table()
        truth = of_broja(table)
        arrays, target = kind.sample(records, seed)
        row = []
        for place, estimate in enumerate((estimated, plug_in, nearest_neighbours)):
            start = time.process_time()
            atoms = estimate(arrays, target)
            spent[place] += time.process_time() - start
            row.append(np.abs(atoms - truth).max())
        row.append(np.abs(atoms - exact_i_min(table)).max())
        errors.append(row)
        print_row(kind.name, [f"{error:.3f}" for error in row])
    print_row("mean", [f"{error:.3f}" for error in np.mean(errors, axis=0)])
    print_row("seconds of processor time", [f"{seconds:.0f}" for seconds in spent])


def print_row(name: str, cells: list[str], width: int = 16) -> None:
    print(f"{name:<44}" + "".join(f"{cell:>{width}}" for cell in cells), flush=True)


def beside_dit() -> None:
    """Print how far dit's BROJA puts the first unique part above the certified value, on random tables."""
    if find_spec("dit") is None:
        print_line("dit is not installed", "SKIPPED", "")
        return
    import dit
    from dit.pid import PID_BROJA

    for seed in range(12):
        shape = SMALL[seed % len(SMALL)]
        table = random_table(shape, seed)
        cells = np.argwhere(table > 0)
        names = ["".join(map(str, cell)) for cell in cells]
        joint = dit.Distribution(names, [float(table[tuple(cell)]) for cell in cells])
        other = PID_BROJA(joint, [[0], [1]], [2])
        exact = broja(table, 1e-6)
        off = float(other.get_pi(((0,),))) - exact.unique1
        print_line(f"dit, random table {seed}, {shape}", f"{off:+.4f} bits", f"certificate {exact.gap:.0e}")


def as_records(table: Array, count: int = 10_000) -> np.ndarray:
    """Return records (x1, x2, y) whose shares are closest to the table: idtxl takes no probabilities."""
    shares = table.ravel() * count
    whole = np.floor(shares).astype(int)
    whole[np.argsort(whole - shares)[: count - whole.sum()]] += 1
    return np.repeat(list(np.ndindex(*table.shape)), whole, axis=0)


def tables() -> Iterator[tuple[str, Array]]:
    for pair in known_pairs():
        yield pair.name, pair.table
    for seed in range(12):
        shape = SMALL[seed % len(SMALL)]
        yield f"random table {seed}, {shape}", random_table(shape, seed)
    for seed, shape in enumerate(LARGE):
        yield f"random table, {shape}", random_table(shape, seed)


def beside_idtxl() -> None:
    """Print the largest difference of the four parts, and the processor time, of each solver that can run."""
    missing = [name for name in ("idtxl", "ecos") if find_spec(name) is None]
    if missing:
        print_line(f"not installed: {', '.join(missing)}", "SKIPPED", "")
        return
    from idtxl.estimators_pid import SydneyPID, TartuPID

    print_row(
        "idtxl: largest difference, seconds", ["this library", "certificate", "Tartu", "", "Sydney", ""]
    )
    for name, table in tables():
        records = as_records(table)
        np.add.at(counted := np.zeros(table.shape), tuple(records.T), 1 / len(records))
        start = time.process_time()
        exact = broja(counted, 1e-6)
        cells = [f"{time.process_time() - start:.3f}", f"{exact.gap:.0e}"]
        sizes = dict(zip(("alph_s1", "alph_s2", "alph_t"), table.shape, strict=True))
        limits = {
            "max_unsuc_swaps_row_parm": 60,
            "num_reps": 63,
            "max_iters": 1000,
        }  # as in idtxl's own tests
        for solver in (TartuPID({}), SydneyPID({**sizes, **limits})):
            if isinstance(solver, SydneyPID) and table.size > 64:
                cells += ["too slow", ""]  # loops over all cells for each of up to 63 000 swaps
                continue
            np.random.seed(0)  # Sydney draws its swaps from numpy's global generator
            start = time.process_time()
            try:
                other = solver.estimate(*np.ascontiguousarray(records.T))
                cells.append(f"{difference(other, exact):.0e}")
            except (ArithmeticError, ValueError) as error:
                cells.append(type(error).__name__)
            cells.append(f"{time.process_time() - start:.3f}")
        print_row(name, cells)


def difference(other: dict[str, float], exact: Pid) -> float:
    names = dict(zip(ATOMS, ("shd_s1_s2", "unq_s1", "unq_s2", "syn_s1_s2"), strict=True))
    return max(abs(float(other[theirs]) - getattr(exact, ours)) for ours, theirs in names.items())


def on_intershap_sets(seed: int) -> None:
    """Print the truth, the parts with their intervals, InterSHAP's score of a network, and its accuracy."""
    settings = Settings(permutations=19, bootstrap=10)
    for recipe in recipes():
        truth = recipe.truth(numpy_generator(0, "truth"))
        cells = [f"{name} {bits:.3f}" for name, bits in zip(ATOMS, truth, strict=True)]
        print_row(recipe.name, [*cells, f"published {recipe.published or '-'}"], 32)
        for records in (1000, 4000):
            arrays, target = drawn(recipe, records, seed)
            start = time.process_time()
            pair = with_intervals(arrays, target, settings)
            seconds = time.process_time() - start
            score, accuracy = intershap(arrays, target, seed)
            cells = [str(getattr(pair, name)) for name in ATOMS]
            cells += [f"{score:.1f} %, {100 * accuracy:.0f} % right"]
            print_row(f"  n = {records}, {seconds:.0f} s", cells, 32)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", help="any of kinds, dit, idtxl, intershap; default: all")
    parser.add_argument("--records", type=int, default=1000, help="kinds: number of records")
    parser.add_argument("--seed", type=int, default=100)
    options = parser.parse_args()
    kinds = [kind for kind in held_out_kinds() if len(kind.shows) == 2]
    parts: dict[str, Callable[[], None]] = {
        "kinds": lambda: compare(kinds, options.records, options.seed),
        "dit": beside_dit,
        "idtxl": beside_idtxl,
        "intershap": lambda: on_intershap_sets(options.seed),
    }
    for name in options.parts or parts:
        parts[name]()


if __name__ == "__main__":
    main()
