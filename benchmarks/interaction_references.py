"""The interaction report beside other estimators, on the held-out kinds, and its solver beside dit's.

Run `python benchmarks/interaction_references.py` (`--records 1000`; some minutes of one core). Compared are

    this library        experts, posteriors in cells, the convex program (BROJA)
    k-means             16 clusters of each modality, the table of counts, BROJA of it: the published way
    nearest             nearest neighbours: Ross's estimate of what each class's records say (PLoS ONE 9(2),
                        2014); a class's smaller one is what is shared: I_min of Williams and Beer

The last one estimates another measure of what is shared, so its error is also given against that measure's
own exact value. Where dit is installed, its BROJA is run on twelve random tables against certified values.
"""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec

import numpy as np
from interaction_truths import Kind, held_out_kinds
from interactions import ATOMS, estimated, told
from scipy.spatial import cKDTree
from scipy.special import digamma
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

from commlearn.information.pid import broja
from commlearn.information.pid.marginals import Array

NEIGHBOURS = 3
CLUSTERS = 16


def plug_in(arrays: dict[str, Array], target: np.ndarray) -> Array:
    """BROJA of the table of counts over clusters."""
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
    """Atoms of I_min from Ross's local estimates."""
    rows = [StandardScaler().fit_transform(part) for part in arrays.values()]
    first, second, both = (local_bits(part, target) for part in (*rows, np.concatenate(rows, axis=1)))
    share = np.bincount(target) / len(target)
    by_class = [[part[target == label].mean() for label in range(len(share))] for part in (first, second)]
    shared = float(share @ np.min(by_class, axis=0))
    return atoms_of(shared, first.mean(), second.mean(), both.mean())


def local_bits(rows: Array, target: np.ndarray) -> Array:
    """Each record's share of I(X; Y): psi(N) - psi(N_y) + psi(k) - psi(m)."""
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
    """The atoms of I_min, by its definition."""
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
    """The largest error of the four parts of every kind, by every estimator."""
    told_row(
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
        told_row(kind.name, [f"{error:.3f}" for error in row])
    told_row("mean", [f"{error:.3f}" for error in np.mean(errors, axis=0)])
    told_row("seconds of processor time", [f"{seconds:.0f}" for seconds in spent])


def told_row(name: str, cells: list[str]) -> None:
    print(f"{name:<44}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def beside_dit() -> None:
    """dit's BROJA on random tables: how far its unique parts are above the certified least."""
    if find_spec("dit") is None:
        told("dit is not installed", "skipped", "")
        return
    import dit
    from dit.pid import PID_BROJA

    for seed in range(12):
        shape = [(2, 2, 2), (3, 2, 2), (3, 3, 2), (3, 3, 3)][seed % 4]
        table = np.random.default_rng(seed).dirichlet(np.full(int(np.prod(shape)), 0.5)).reshape(shape)
        cells = np.argwhere(table > 0)
        names = ["".join(map(str, cell)) for cell in cells]
        joint = dit.Distribution(names, [float(table[tuple(cell)]) for cell in cells])
        other = PID_BROJA(joint, [[0], [1]], [2])
        exact = broja(table, 1e-6)
        off = float(other.get_pi(((0,),))) - exact.unique1
        told(f"dit, random table {seed}, {shape}", f"{off:+.4f} bits", f"certificate {exact.gap:.0e}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=100)
    options = parser.parse_args()
    compare([kind for kind in held_out_kinds() if len(kind.shows) == 2], options.records, options.seed)
    beside_dit()


if __name__ == "__main__":
    main()
