"""Measure the errors of the interaction report on data with known answers.

Run `python benchmarks/interactions.py`; all parts together take an hour or two on two cores. You can name
single parts (`twins invariance coverage nulls trust digits three gaussians speed fresh`), and `--scale 0.1`
for fewer repetitions. Every part prints one line per case, with the figure and the bar that it should meet.
The latest table is in docs/interactions.md. `fresh` uses the kinds of `interaction_truths.py` on which no
setting was chosen (`--kinds tuning` for the others; `--records 500,1000 --repeats 4`; `--rows FILE` writes
one line per number).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from interaction_truths import held_out_kinds, tuning_kinds
from scipy.ndimage import rotate, shift
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.kernel_ridge import KernelRidge

import commlearn as cl
from commlearn.information import InteractionReport, Settings
from commlearn.information.ask import judge
from commlearn.information.calibrate import Twin
from commlearn.information.diagnose import gaussian_parts, leak_signs
from commlearn.information.estimate import Measured, atoms_of_two, measure
from commlearn.information.evidence import best_logs, gather_evidence
from commlearn.information.material import from_arrays, prepare_target
from commlearn.information.pid import broja, order_spectrum
from commlearn.information.views import Estimate, Pair, View

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from known_decompositions import gate, known_twins

ATOMS = ("redundant", "unique1", "unique2", "synergistic")
POINT = Settings(curve=False, bootstrap=0, permutations=19)  # estimates only


def report_on(arrays: dict[str, np.ndarray], target: np.ndarray, settings: Settings) -> InteractionReport:
    report = cl.interactions(arrays, target=target, settings=settings)
    assert isinstance(report, InteractionReport)
    return report


def estimated(
    arrays: dict[str, np.ndarray], target: np.ndarray, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return the four parts of the DATA view."""
    measured = data_view(arrays, target, groups)
    parts = atoms_of_two(measured, *measured.compared[0])
    return np.array([parts[name].bits for name in ATOMS])


def data_view(
    arrays: dict[str, np.ndarray], target: np.ndarray, groups: np.ndarray | None = None
) -> Measured:
    """Compute the DATA view without the rest of the report: the same numbers in half the time."""
    material, labels = from_arrays(arrays, None), prepare_target(target, "y", None, POINT.folds)
    records = gather_evidence(material, labels, groups, POINT)
    return measure(best_logs(records, POINT)[0], records.labels)


def with_intervals(arrays: dict[str, np.ndarray], target: np.ndarray, settings: Settings) -> Pair:
    """Compute the parts of the DATA view with their intervals, without the rest of the report."""
    return view_with_intervals(arrays, target, settings).pairs[0]


def view_with_intervals(arrays: dict[str, np.ndarray], target: np.ndarray, settings: Settings) -> View:
    material, labels = from_arrays(arrays, None), prepare_target(target, "y", None, settings.folds)
    records = gather_evidence(material, labels, None, settings)
    return judge(records, best_logs(records, settings)[0], settings)[0]


def atoms(report: InteractionReport) -> np.ndarray:
    return np.array([getattr(report.atoms, name).bits for name in ATOMS])


def truth_of(twin: Twin) -> np.ndarray:
    exact = twin.truth()
    return np.array([getattr(exact, name) for name in ATOMS])


def print_line(what: str, figure: str, bar: str) -> None:
    print(f"{what:<58}{figure:>24}   {bar}", flush=True)


def unseen_twins() -> list[Twin]:
    """Return three distributions on which no choice of the estimator was made."""
    nested = np.zeros((2, 4, 2))
    for bit, value in np.ndindex(2, 4):
        nested[bit, value, bit & (value >> 1)] += 1 / 8
    equal = np.zeros((3, 3, 2))
    for first, second in np.ndindex(3, 3):
        equal[first, second, int(first == second)] = 0.9 / 9
        equal[first, second, int(first != second)] = 0.1 / 9
    return [
        Twin("AND of a bit and a level of four", nested, (4.0, 2.0), 24),
        Twin("two threes are equal, flipped 10 %", equal, (4.0, 4.0), 16),
        gate("OR, flipped 5 %, weak first", lambda a, b: a | b, (1.5, 3.0), flip=0.05, dimensions=48),
    ]


def twins(scale: float) -> None:
    """Print the largest error of the four atoms, averaged over distributions."""
    modular = np.zeros((3, 3, 3))
    for first, second in np.ndindex(3, 3):
        modular[first, second, (first + second) % 3] = 1 / 9
    hard = [Twin("sum of two threes, modulo 3", modular, (4.0, 4.0), 16)]
    groups = {"six twins": known_twins(), "three unseen twins": unseen_twins(), "a hard one": hard}
    for name, chosen in groups.items():
        for records, bar in ((1000, 0.06), (4000, 0.03)):
            worst = []
            for twin in chosen:
                truth = truth_of(twin)
                for seed in range(100, 100 + max(1, round(5 * scale))):
                    parts = estimated(*twin.sample(records, seed))
                    worst.append(np.abs(parts - truth).max())
                mine = worst[-max(1, round(5 * scale)) :]
                print_line(f"  {twin.name}, n = {records}", f"{np.mean(mine):.3f} bits", "")
            limit = f"<= {bar}" if len(chosen) > 1 else ""
            print_line(f"{name}, n = {records}, mean largest error", f"{np.mean(worst):.3f} bits", limit)


def invariance(scale: float) -> None:
    """Print how far rescaling, rotating or duplicating columns moves the atoms."""
    twin = known_twins()[3]
    arrays, target = twin.sample(4000, 100)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 32)))
    units = np.exp(np.random.default_rng(1).normal(size=32))
    base = estimated(arrays, target)
    moves = {
        "times 1000": lambda rows: 1000 * rows,
        "columns in other units": lambda rows: rows * units,
        "rotated": lambda rows: rows @ turn,
        "every column twice": lambda rows: np.tile(rows, 2),
        "one column ten times": lambda rows: np.concatenate([rows, *[rows[:, :1]] * 9], axis=1),
    }
    for name, move in moves.items():
        moved = estimated({"a": move(arrays["a"]), "b": arrays["b"]}, target)
        print_line(f"invariance: {name}", f"{np.abs(moved - base).max():.3f} bits", "<= 0.02")


def coverage(scale: float) -> None:
    """Print how often 90 % intervals of the whole estimation contain the truth, for atoms above zero."""
    settings = Settings(permutations=19, bootstrap=10)
    for twin in [replace(known_twins()[place], dimensions=8) for place in (5, 3)]:
        truth = truth_of(twin)
        held, shown = [], np.flatnonzero(truth > 0.02)
        repeats = max(2, round(100 * scale))
        for seed in range(200, 200 + repeats):
            pair = with_intervals(*twin.sample(500, seed), settings)
            numbers = [getattr(pair, name) for name in ATOMS]
            held.append([part.low <= true <= part.high for part, true in zip(numbers, truth, strict=True)])
            if len(held) % 10 == 0 or len(held) == repeats:
                share = ", ".join(
                    f"{ATOMS[place]} {100 * np.mean(held, axis=0)[place]:.0f} %" for place in shown
                )
                print_line(f"coverage: {twin.name}, n = 500, {len(held)} repetitions", share, "80-97 %")


def parts_of(view: View) -> dict[str, Estimate]:
    """Return the parts with their intervals, under the names of `Kind.parts`."""
    if len(view.names) == 2:
        return {name: getattr(view.pairs[0], name) for name in ATOMS}
    parts = {f"spectrum {order}": part for order, part in enumerate(view.spectrum, 1)}
    return parts | {f"unique {name}": part for name, part in view.unique.items()}


def fresh(options: argparse.Namespace) -> None:
    """Print error, bias and coverage by n on kinds with exact parts, including all steps of the intervals."""
    settings = Settings(permutations=19, bootstrap=10)
    chosen = tuning_kinds() if options.kinds == "tuning" else held_out_kinds()
    rows: list[dict[str, object]] = []
    for records in options.records:
        for kind in chosen:
            truth = kind.parts()
            worst = []
            for seed in range(options.first, options.first + options.repeats):
                start = time.process_time()
                estimates = parts_of(view_with_intervals(*kind.sample(records, seed), settings))
                seconds = time.process_time() - start
                errors = {name: part.bits - truth[name] for name, part in estimates.items()}
                worst.append(max(map(abs, errors.values())))
                shown = "  ".join(
                    f"{truth[name]:.2f}: {part}{'' if holds(part, truth[name]) else ' MISSED'}"
                    for name, part in estimates.items()
                )
                print_line(f"  {kind.name}, n = {records}, {seconds:.0f} s", shown, "")
                for name, part in estimates.items():
                    row = {"kind": kind.name, "records": records, "seed": seed, "part": name}
                    row |= {"truth": truth[name], "bits": part.bits, "low": part.low, "high": part.high}
                    row |= {"open": part.growing, "held": holds(part, truth[name]), "worst": worst[-1]}
                    rows.append(row)
            print_line(f"{kind.name}, n = {records}, mean largest error", f"{np.mean(worst):.3f} bits", "")
        if options.rows:
            Path(options.rows).write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
        summary([row for row in rows if row["records"] == records], records)


def holds(part: Estimate, truth: float) -> bool:
    """Return whether the interval, or the "at least" bound, is true of `truth`, which is known to 1e-4."""
    return part.low - 1e-4 <= truth and (part.growing or truth <= part.high + 1e-4)


BARS = {500: 0.12, 1000: 0.08, 4000: 0.04}
LETTERS = {"redundant": "R", "unique1": "U", "unique2": "U", "synergistic": "S"}


def summary(rows: list[dict], records: int) -> None:  # type: ignore[type-arg]
    """Print the error for one number of records, then bias and coverage of R, U and S."""
    worst = {(row["kind"], row["seed"]): row["worst"] for row in rows}
    bar = f"<= {BARS[records]}" if records in BARS else ""
    print_line(
        f"all kinds, n = {records}, mean largest error", f"{np.mean(list(worst.values())):.3f} bits", bar
    )
    for letter in "RUS":
        mine = [row for row in rows if letter == letter_of(row["part"])]
        for what, bar in (("two-sided", "85-96 %"), ("at least", ">= 93 %")):
            some = [row for row in mine if row["open"] == (what == "at least")]
            there = [row for row in some if row["truth"] > 0.02]
            if not some:
                continue
            held, true = ([row["held"] for row in chosen] for chosen in (some, there))
            bias = np.mean([row["bits"] - row["truth"] for row in some])
            print_line(
                f"{letter}, {what}, n = {records}: bias ({len(some)}); coverage: all, {len(there)} not zero",
                f"{bias:+.3f}; {100 * np.mean(held):.0f} %, {100 * np.mean(true or [True]):.0f} %",
                bar,
            )
    narrow = sum(row["high"] - row["low"] < 1e-9 for row in rows)
    print_line(f"intervals of zero width, n = {records}", f"{narrow} of {len(rows)}", "0")


def letter_of(part: str) -> str:
    """Return R, U or S for a part of two modalities, or its counterpart for a part of three."""
    if part in LETTERS:
        return LETTERS[part]
    return "U" if part.startswith("unique") else "R" if part == "spectrum 1" else "S"


def nulls(scale: float) -> None:
    """Print how often parts are found for permuted labels, and for noise and labels that vary by patient."""
    repeats = max(2, round(50 * scale))
    alone, patients = [], []
    settings = Settings(curve=False, bootstrap=5, permutations=59)
    for seed in range(300, 300 + repeats):
        draw = np.random.default_rng(seed)
        arrays, target = known_twins()[seed % 6].sample(1000, seed)
        alone.append(report_on(arrays, draw.permutation(target), settings))
        whose = np.repeat(np.arange(50), 12)
        arrays = {
            name: draw.normal(size=(50, 6))[whose] + 0.3 * draw.normal(size=(600, 6)) for name in ("a", "b")
        }
        target = draw.permutation(np.arange(50) % 2)[whose]
        report = cl.interactions(arrays, target=target, groups=whose, settings=settings)
        assert isinstance(report, InteractionReport)
        patients.append(report)
        if len(alone) % 10 == 0 or len(alone) == repeats:
            of_nulls("labels permuted, n = 1000", alone)
            of_nulls("noise of 50 patients of 12 records", patients)
    small = Settings(curve=False, bootstrap=5, permutations=59)
    draw = np.random.default_rng(0)
    arrays = {name: draw.normal(size=(138, 32)) for name in "ab"}
    report = report_on(arrays, draw.integers(0, 2, 138), small)
    print_line("pure noise, n = 138, S", f"{report.atoms.synergistic.bits:.3f} bits", "published way: 0.55")
    print_line("pure noise, n = 138, trusted", str(report.diagnostics.trusted), "False")


def of_nulls(what: str, reports: list[InteractionReport]) -> None:
    """Print how often something is found although there is nothing to find."""
    parts = [(getattr(report.atoms, name).p or 1) <= 0.05 for report in reports for name in ATOMS]
    synergy = [(report.atoms.synergistic.p or 1) <= 0.05 for report in reports]
    combination = [(report.combination.p or 1) <= 0.05 for report in reports]
    largest = max(report.atoms.synergistic.bits for report in reports)
    what = f"{what}, {len(reports)} times"
    print_line(f"{what}: largest S", f"{largest:.3f} bits", "<= 0.02")
    print_line(f"{what}: parts called present", f"{100 * np.mean(parts):.1f} %", "<= 7 %")
    print_line(f"{what}: synergy called present", f"{100 * np.mean(synergy):.1f} %", "<= 3 %")
    print_line(f"{what}: combination, p <= 0.05", f"{100 * np.mean(combination):.1f} %", "<= 7 %")


def trust(scale: float) -> None:
    """Print how often copies, near-copies and leaking columns are detected, and how often sound data are."""
    repeats = max(2, round(20 * scale))
    caught: dict[str, list[bool]] = {}
    for seed in range(500, 500 + repeats):
        draw = np.random.default_rng(seed)
        arrays, target = {name: draw.normal(size=(150, 6)) for name in "ab"}, draw.integers(0, 2, 150)
        big, labels = {name: draw.normal(size=(600, 6)) for name in "ab"}, draw.integers(0, 4, 600)
        leaking = {**big, "a": np.column_stack([big["a"], draw.permutation(4)[labels]])}
        cases = {"nothing wrong": (big, labels), "a column holds the target": (leaking, labels)}
        for jitter in (0.0, 0.01):
            several = {
                name: np.tile(rows, (4, 1)) + jitter * draw.normal(size=(600, 6))
                for name, rows in arrays.items()
            }
            cases[f"150 records four times, jitter {jitter}"] = (several, np.tile(target, 4))
        kind = tuning_kinds()[seed % len(tuning_kinds())]
        cases["kinds of the tuning set"] = kind.sample(600, seed)
        for name, (given, answer) in cases.items():
            material, prepared = from_arrays(given, None), prepare_target(answer, "y", None, POINT.folds)
            records = gather_evidence(material, prepared, None, POINT)
            signs = leak_signs(material, prepared, records, POINT)
            caught.setdefault(name, []).append(bool(signs.severe))
    for name, refused in caught.items():
        bar = "0" if name in ("nothing wrong", "kinds of the tuning set") else "all"
        print_line(f"cannot be trusted: {name}", f"{sum(refused)} of {len(refused)}", bar)


def moved(images: np.ndarray) -> np.ndarray:
    """Return images unchanged, shifted by half a pixel to each side, and rotated by ten degrees each way."""
    plain = images.reshape(-1, 8, 8)
    shifts = [(0, 0.5, 0), (0, -0.5, 0), (0, 0, 0.5), (0, 0, -0.5)]
    seen = [plain, *(shift(plain, by, order=1) for by in shifts)]
    seen += [rotate(plain, degrees, axes=(1, 2), reshape=False, order=1) for degrees in (-10, 10)]
    return np.concatenate(seen).reshape(-1, 64)


def digit_codes() -> tuple[np.ndarray, np.ndarray]:
    """Return ten numbers per image from an encoder fitted on 900 other labelled images, and the labels.

    The encoder is a kernel regression of the indicators of the ten digits, fitted on the 900 images and moved
    copies of them. The width of its kernel was chosen by cross-validation on the 900.
    """
    images, labels = load_digits(return_X_y=True)
    images = images / 16
    order = np.random.default_rng(0).permutation(len(labels))
    other, mine = order[:900], order[900:]
    marks = np.tile(np.eye(10)[labels[other]], (7, 1))
    encoder = KernelRidge(alpha=0.01, kernel="rbf", gamma=0.4).fit(moved(images[other]), marks - 0.1)
    codes = encoder.predict(images[mine])
    right = np.mean(codes.argmax(axis=1) == labels[mine])
    print_line("digits: encoder right", f"{100 * right:.2f} % of {len(mine)}", "")
    return codes, labels[mine]


def digit_pairs(
    codes: np.ndarray, labels: np.ndarray, same: bool, pairs: int = 6000
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Draw pairs of images in five disjoint blocks; returns codes, left and right labels, and blocks."""
    draw = np.random.default_rng(1)
    block_of = draw.permutation(len(labels)) % 5
    first, second, blocks = [], [], np.repeat(np.arange(5), pairs // 5)
    for block in range(5):
        members = np.flatnonzero(block_of == block)
        left = draw.choice(members, pairs // 5)
        first.append(left)
        alike = [members[labels[members] == digit] for digit in range(10)]
        second.append(
            np.array([draw.choice(alike[digit]) for digit in labels[left]])
            if same
            else draw.choice(members, pairs // 5)
        )
    rows = [np.concatenate(side) for side in (first, second)]
    arrays = {"left": codes[rows[0]], "right": codes[rows[1]]}
    return arrays, labels[rows[0]], labels[rows[1]], blocks


def digits(scale: float) -> None:
    """Print errors for targets of pairs of real digits, whose parts are known exactly.

    This is done once with no image in two folds, and once with folds over pairs, in which experts see every
    image several times.
    """
    codes, labels = digit_codes()
    arrays, left, right, blocks = digit_pairs(codes, labels, same=False)
    twice, seen, _, their_blocks = digit_pairs(codes, labels, same=True)
    cases = {
        "parity of both": (arrays, (left + right) % 2, blocks, (0, 0, 0, 1), 0.08),
        "(left + right) mod 10": (arrays, (left + right) % 10, blocks, (0, 0, 0, 3.3219), 0.25),
        "unique: the left digit": (arrays, left, blocks, (0, 3.3219, 0, 0), 0.02),
        "left > right": (arrays, left > right, blocks, (0.2841, 0, 0, 0.7086), 0.1),
        "shared: one digit, seen twice": (twice, seen, their_blocks, (3.3219, 0, 0, 0), 0.02),
    }
    for name, (given, target, groups, truth, bar) in cases.items():
        for how, whole in (("no image in two folds", groups), ("folds of pairs", None)):
            parts = estimated(given, target.astype(int), groups=whole)
            error = f"{np.abs(parts - np.array(truth)).max():.3f} bits"
            print_line(f"digits: {name}, {how}", f"{error}, {parts.round(3)}", f"<= {bar}")
    report = cl.interactions(arrays, target=(left + right) % 2, groups=blocks, settings=POINT)
    stated = "sees none of the synergy" in str(report)
    linear = report.linear.pairs[0].synergistic.bits
    print_line(
        "digits: parity, what a linear probe sees", f"{linear:.3f} bits, stated: {stated}", "none, stated"
    )


def three(scale: float) -> None:
    """Print the largest error of the order spectrum, for two classes and n = 4 000."""
    shared = np.zeros((2, 2, 2, 2))
    shared[0, 0, 0, 0] = shared[1, 1, 1, 1] = 0.5
    apart = (4.0, 4.0, 3.0)
    cases = [
        Twin("RDN3", shared, apart),
        gate("parity of three", lambda a, b, c: a ^ b ^ c, apart),
        gate("XOR of two, idle third", lambda a, b, c: a ^ b, apart),
        gate("MAJ3", lambda a, b, c: a + b + c > 1, apart),
    ]
    for twin in cases:
        truth, errors = np.array(order_spectrum(twin.binned(30)).spectrum), []
        for seed in range(100, 100 + max(1, round(4 * scale))):
            spectrum = np.array([part.bits for part in data_view(*twin.sample(4000, seed)).spectrum])
            errors.append(np.abs(spectrum - truth).max())
        each = ", ".join(f"{error:.3f}" for error in errors)
        print_line(f"three modalities: {twin.name}", f"{np.mean(errors):.3f} bits ({each})", "<= 0.05")


def gaussians(scale: float) -> None:
    """Compare with closed forms: fair binary y, X_i ~ N(+-d_i / 2, 1); scalar Gaussians, cut into classes."""
    closed_forms = {
        (1, 1): (0.1607, 0, 0, 0.1297),
        (2, 1): (0.1607, 0.3252, 0, 0.0744),
        (2, 2): (0.4859, 0, 0, 0.2355),
        (4, 3): (0.7600, 0.1528, 0, 0.0624),
    }
    for apart, parts in closed_forms.items():
        draw = np.random.default_rng(100)
        target = draw.integers(0, 2, 4000)
        sign = (target - 0.5)[:, None]
        arrays = {name: d * sign + draw.normal(size=(4000, 1)) for name, d in zip("ab", apart, strict=True)}
        error = np.abs(estimated(arrays, target) - np.array(parts)).max()
        print_line(f"binary y, separations {apart}, n = 4000", f"{error:.3f} bits", "")
    closed = {
        (1, 1, 0): (0.5, 0, 0, 0.2925),
        (0.5, 1, 0): (0.5, 0.661, 0, 0.1315),
        (1, 1, 0.5): (0.5, 0, 0, 0.1112),
        (1, 1, -0.5): (0.5, 0, 0, 0.661),
    }
    for setting, parts in closed.items():
        arrays, y = gaussian_sample(*setting, records=4000)
        material, labels = from_arrays(arrays, None), prepare_target(y, "y", None, POINT.folds)
        checked = gaussian_parts(gather_evidence(material, labels, None, POINT), y)
        error = max(abs(checked[name] - true) for name, true in zip(ATOMS, parts, strict=True))
        print_line(f"Gaussians {setting}, n = 4000, cross-check", f"{error:.3f} bits", "")
        in_classes = truth_in_classes(*setting, classes=8)
        error = np.abs(estimated(arrays, y) - in_classes).max()
        lost = np.abs(in_classes - np.array(parts)).max()
        print_line(
            f"Gaussians {setting}, 8 classes, against their truth", f"{error:.3f} bits", f"cut: {lost:.3f}"
        )


def gaussian_sample(
    s1: float, s2: float, rho: float, records: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draw Y ~ N(0, 1) and X_i = Y + s_i e_i, with noise correlated by rho."""
    draw = np.random.default_rng(100)
    y = draw.normal(size=records)
    noise = draw.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=records)
    return {"a": (y + s1 * noise[:, 0])[:, None], "b": (y + s2 * noise[:, 1])[:, None]}, y


def truth_in_classes(s1: float, s2: float, rho: float, classes: int, cells: int = 60) -> np.ndarray:
    """Return the parts for Y cut into classes of equal mass, on a fine grid of X1 and X2."""
    grids = [np.linspace(-4.5, 4.5, cells) * (1 + s**2) ** 0.5 for s in (s1, s2)]
    per_class = 60
    middles = (np.arange(classes * per_class) + 0.5) / (classes * per_class)
    table = np.zeros((cells, cells, classes))
    for place, y in enumerate(norm.ppf(middles)):
        e1, e2 = ((grid - y) / s for grid, s in zip(grids, (s1, s2), strict=True))
        away = e1[:, None] ** 2 + e2[None] ** 2 - 2 * rho * e1[:, None] * e2[None]
        density = np.exp(-away / (2 * (1 - rho**2)))
        table[:, :, place // per_class] += density / density.sum()
    exact = broja(table / table.sum(), 1e-4)
    return np.array([getattr(exact, name) for name in ATOMS])


def speed(scale: float) -> None:
    """Time the complete report with default settings, for 10 classes."""
    records = max(500, round(10_000 * scale))
    for count, bar in ((2, 60), (3, 300)):
        draw = np.random.default_rng(0)
        digits_of = draw.integers(0, 10, size=(count, records))
        directions = draw.normal(size=(count, 10, 64))
        arrays = {
            chr(ord("a") + place): directions[place][digits_of[place]] + draw.normal(size=(records, 64))
            for place in range(count)
        }
        start, spent = time.perf_counter(), time.process_time()
        report_on(arrays, digits_of.sum(axis=0) % 10, Settings())
        wall, busy = time.perf_counter() - start, time.process_time() - spent
        what = f"{records} records, {count} modalities, 10 classes"
        print_line(what, f"{wall:.0f} s ({busy:.0f} s of a core)", f"<= {bar} s")


PARTS: dict[str, Callable[[float], None]] = {
    "twins": twins,
    "invariance": invariance,
    "coverage": coverage,
    "nulls": nulls,
    "trust": trust,
    "digits": digits,
    "three": three,
    "gaussians": gaussians,
    "speed": speed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)}, fresh; default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the repetitions")
    parser.add_argument(
        "--kinds", choices=("tuning", "held-out"), default="held-out", help="fresh: which kinds"
    )
    parser.add_argument("--records", type=lambda text: [int(n) for n in text.split(",")], default=[500, 1000])
    parser.add_argument("--repeats", type=int, default=4, help="fresh: samples of each kind")
    parser.add_argument("--first", type=int, default=1, help="fresh: seed of the first sample")
    parser.add_argument("--rows", help="fresh: file for one line of JSON per number")
    options = parser.parse_args()
    for name in options.parts or [*PARTS, "fresh"]:
        if name == "fresh":
            fresh(options)
        else:
            PARTS[name](options.scale)


if __name__ == "__main__":
    main()
