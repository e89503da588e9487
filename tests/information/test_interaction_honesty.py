"""The report states its limits: wide modalities, hard synergies, copies, leaks."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter1d

import commlearn as cl
from commlearn.batch import choose_subsets
from commlearn.errors import CommlearnError
from commlearn.information import InteractionReport, Settings, diagnose
from commlearn.information.ask import ask
from commlearn.information.curve import Curve, Growth
from commlearn.information.estimate import QuantityKey
from commlearn.information.evidence import gather_evidence
from commlearn.information.experts.folds import make_folds
from commlearn.information.experts.posteriors import Evidence
from commlearn.information.material import Material, from_arrays, prepare_target
from commlearn.information.sources import GatheredInputs
from commlearn.information.views import Limits, learnable_share, make_view

QUICK = Settings(bootstrap=2, permutations=19, curve=False, repeats=1)
CURVE = Settings(bootstrap=2, permutations=19, repeats=1)
ATOMS = ("redundant", "unique1", "unique2", "synergistic")


def half_spaces(records: int, columns: int, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return two vectors and the XOR of their sides of random planes: one bit of synergy, nothing else."""
    draw = np.random.default_rng(seed)
    arrays = {name: draw.normal(size=(records, columns)) for name in "ab"}
    sides = [array @ draw.normal(size=columns) > 0 for array in arrays.values()]
    return arrays, (sides[0] ^ sides[1]).astype(int)


@pytest.fixture(scope="module")
def open_ended() -> InteractionReport:
    arrays, target = half_spaces(600, 8)
    return cl.interactions(arrays, target=target, settings=CURVE)


# ------------------------------------------------------------------------------------------ better experts
def test_three_of_five_hundred_columns_are_found():
    draw = np.random.default_rng(0)
    arrays = {"a": draw.normal(size=(800, 512)), "b": draw.normal(size=(800, 6))}
    sure = 2.5 * (arrays["a"][:, [5, 100, 400]].sum(axis=1) / 3**0.5 + arrays["b"][:, 0])
    target = (draw.random(800) < 1 / (1 + np.exp(-sure))).astype(int)
    report = cl.interactions(arrays, target=target, settings=QUICK)
    assert report.data.ladder[("a",)].bits > 0.12  # the truth is 0.21; components of the columns show 0.03
    assert report.data.total.bits > 0.4  # the truth is 0.54


def test_an_xor_of_half_spaces_is_found_and_its_upper_end_is_open(open_ended):
    synergy = open_ended.atoms.synergistic
    assert synergy.bits > 0.55  # 0.35 if networks have no directions to start from
    assert synergy.growing
    assert synergy.low < synergy.bits
    assert synergy.high == pytest.approx(open_ended.entropy)
    assert open_ended.verdict.startswith("AT LEAST: synergy")
    assert str(open_ended).startswith(open_ended.verdict)
    assert "together they provide at least" in str(open_ended)


def test_names_in_a_column_of_numbers_are_read_as_names():
    draw = np.random.default_rng(1)
    codes = draw.integers(0, 12, size=(2, 900))
    answers = draw.permutation(12) % 2
    target = answers[codes[0]] ^ (codes[1] % 2)
    arrays = {name: code[:, None].astype(float) for name, code in zip("ab", codes, strict=True)}
    assert cl.interactions(arrays, target=target, settings=QUICK).atoms.synergistic.bits > 0.9


# ----------------------------------------------------------------------------------------------- intervals
def test_no_interval_is_without_width_or_beyond_certainty(open_ended):
    for number in open_ended.data.numbers.values():
        assert number.high > number.low
        assert number.high <= open_ended.entropy + 1e-9


def test_a_synergy_that_could_not_have_been_learned_is_left_open():
    draw = np.random.default_rng(2)
    arrays = {name: draw.normal(size=(400, 60)) for name in "ab"}
    report = cl.interactions(arrays, target=draw.integers(0, 2, 400), settings=QUICK)
    assert report.diagnostics.learnable < 0.3
    assert report.atoms.synergistic.growing
    easy = {name: draw.normal(size=(1500, 1)) for name in "ab"}
    report = cl.interactions(easy, target=draw.integers(0, 2, 1500), settings=QUICK)
    assert report.diagnostics.learnable > 0.8
    assert not report.atoms.synergistic.growing


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_synergy_of_two_columns_with_two_values_can_be_planted(share, seed):
    blocks = np.random.default_rng(9).random((2, 600, 1)) < share
    blocks = (blocks - blocks.mean(axis=1, keepdims=True)) / blocks.std(axis=1, keepdims=True)
    assert learnable_share((blocks[0], blocks[1]), None, Settings(seed=seed)) > 0.9


# ------------------------------------------------------------------------------------ when not to trust it
def noise(records: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    draw = np.random.default_rng(seed)
    arrays = {name: draw.normal(size=(records, 6)) for name in "ab"}
    return arrays, draw.integers(0, 2, records)


@pytest.mark.parametrize("jitter", [0.0, 0.01])
def test_copies_and_near_copies_cannot_be_trusted(jitter):
    arrays, target = noise(80, 0)
    draw = np.random.default_rng(9)
    several = {
        name: np.tile(array, (4, 1)) + jitter * draw.normal(size=(320, 6)) for name, array in arrays.items()
    }
    report = cl.interactions(several, target=np.tile(target, 4), settings=QUICK)
    assert not report.diagnostics.trusted
    assert str(report).startswith("CANNOT BE TRUSTED")
    assert "copies" in report.verdict
    group = np.tile(np.arange(80), 4)
    together = cl.interactions(several, target=np.tile(target, 4), groups=group, settings=QUICK)
    assert "copies" not in together.verdict
    assert together.data.total.bits < 0.05


@pytest.mark.parametrize("columns", [6, 2])
def test_groups_that_divide_copies_do_not_hide_them(columns):
    """Noise, every record three times under other groups: experts find 0.8 bits in it."""
    arrays, target = noise(100, 0)
    several = {name: np.tile(array[:, :columns], (3, 1)) for name, array in arrays.items()}
    group = np.random.default_rng(1).permutation(300) // 2
    report = cl.interactions(several, target=np.tile(target, 3), groups=group, settings=QUICK)
    assert report.data.total.bits > 0.1
    assert report.verdict.startswith("CANNOT BE TRUSTED: ")
    assert "pass groups= that keep copies" in report.verdict


def signs_of(arrays, target, groups=None):
    material, prepared = from_arrays(arrays, None), prepare_target(target, "y", None, QUICK.folds)
    return diagnose.leak_signs(material, prepared, gather_evidence(material, prepared, groups, QUICK), QUICK)


@pytest.mark.parametrize(("measured_again", "columns"), [("ab", 8), ("b", 8), ("b", 2)])
def test_records_measured_twice_cannot_be_trusted(measured_again, columns):
    """Noise, every record twice: no distance jumps, but the nearest neighbour has the record's class."""
    draw = np.random.default_rng(0)
    arrays = {name: draw.normal(size=(600, 8)) for name in "ab"}
    target, person = np.tile(draw.integers(0, 2, 300), 2), np.arange(600) % 300
    for name in measured_again:
        jitter = 0.3 if columns == 8 else 0.01
        arrays[name] = (arrays[name][person] + jitter * draw.normal(size=(600, 8)))[:, :columns]
    assert "near-copies in" in signs_of(arrays, target).severe[0]
    assert "near-copies in" in signs_of(arrays, target, draw.permutation(600) // 2).severe[0]
    assert signs_of(arrays, target, person).severe == []
    assert signs_of(arrays, draw.integers(0, 2, 600)).severe == []  # nothing to recognise


@pytest.mark.parametrize("seed", range(4))
def test_equal_codes_are_no_near_copies(seed):
    """Distances between equal rows of many columns are roundings, from which the next distance jumps."""
    draw = np.random.default_rng(seed)
    codes = draw.integers(0, 12, size=(2, 500))
    arrays = {name: code[:, None].astype(float) for name, code in zip("ab", codes, strict=True)}
    assert signs_of(arrays, draw.permutation(12)[codes[0]] % 2 ^ (codes[1] % 2)).severe == []


def test_unrelated_random_walks_cannot_be_trusted():
    """Rows in the order of time: folds of single rows let experts recognise the moment."""
    draw = np.random.default_rng(1)
    walks = draw.normal(size=(3, 600, 5)).cumsum(axis=1)
    arrays, target = {"a": walks[0], "b": walks[1]}, (walks[2, :, 0] > np.median(walks[2, :, 0])).astype(int)
    report = cl.interactions(arrays, target=target, settings=QUICK)
    assert report.data.total.bits > 0.5
    assert report.verdict.startswith("CANNOT BE TRUSTED: rows that follow one another")
    assert "rows that follow" in signs_of(arrays, target, np.arange(600) // 10).severe[0]  # too short
    shuffled = draw.permutation(600)
    assert signs_of({name: rows[shuffled] for name, rows in arrays.items()}, target).severe == []


def test_smooth_series_which_seldom_turn_are_no_sorted_columns():
    draw = np.random.default_rng(0)
    smooth = gaussian_filter1d(draw.normal(size=(3, 900, 3)), 30, axis=1)
    arrays, target = (
        {"a": smooth[0], "b": smooth[1]},
        (smooth[2, :, 0] > np.median(smooth[2, :, 0])).astype(int),
    )
    assert "rows that follow one another" in signs_of(arrays, target).severe[-1]


@pytest.mark.parametrize("by", ["target", "column", "target and column", "something else"])
def test_a_sorted_table_is_no_series(by):
    draw = np.random.default_rng(2)
    cause, noise = draw.normal(size=600), draw.normal(size=(2, 600, 5))
    target = (cause + draw.normal(size=600) > 0).astype(int)
    arrays = {"a": noise[0] + 0.5 * cause[:, None], "b": noise[1]}
    if by != "something else":
        arrays["a"][:, 0] = cause
    order = {"target": np.argsort(target, kind="stable"), "target and column": np.lexsort((cause, target))}
    rows = order.get(by, np.argsort(cause))
    signs = signs_of({name: values[rows] for name, values in arrays.items()}, target[rows])
    assert signs.severe == []
    assert not any("series over time" in sign for sign in signs.others)


@pytest.mark.parametrize("keys", [("site",), ("class", "site"), ("class", "site", "age"), ("site", "class")])
def test_a_table_sorted_by_codes_is_no_series(keys):
    draw = np.random.default_rng(2)
    cause = draw.normal(size=800)
    cells = {"class": (cause + 0.5 * draw.normal(size=800) > 0).astype(int)}
    cells |= {"site": np.digitize(cause, [-1, -0.3, 0.3, 1]), "age": np.round(50 + 12 * cause)}
    rows = np.lexsort([cells[key] for key in reversed(keys)])
    first = np.column_stack([np.eye(5)[cells["site"]], cells["age"]])
    second = 0.7 * cause[:, None] + 0.7 * draw.normal(size=(800, 2))
    signs = signs_of({"a": first[rows], "b": second[rows]}, cells["class"][rows])
    assert not any("series over time" in sign for sign in [*signs.severe, *signs.others])


@pytest.mark.parametrize("seed", range(4))
def test_classes_of_few_records_are_no_near_copies(seed):
    """Each of 100 classes is a cluster of 6: the neighbours after those cannot have its class."""
    draw, label = np.random.default_rng(seed), np.arange(600) % 100
    arrays = {"a": 20 * draw.normal(size=(100, 8))[label] + 5 * draw.normal(size=(600, 8))}
    arrays["b"] = draw.normal(size=(600, 2))
    assert signs_of(arrays, label.astype(str)).severe == []


@pytest.mark.parametrize("seed", [0, 1, 15])
def test_records_along_a_line_are_no_near_copies(seed):
    """Among neighbours on a line, chance alone makes one distance many times the one before."""
    draw = np.random.default_rng(seed)
    line, site = draw.normal(size=400), draw.integers(0, 5, 400)
    arrays = {"a": np.column_stack([line, site]), "b": draw.normal(size=(400, 3))}
    assert signs_of(arrays, (line + draw.normal(size=400) > 0).astype(int)).severe == []


def test_records_that_are_not_copies_are_not_called_so():
    draw = np.random.default_rng(3)
    line = draw.normal(size=(600, 1))
    arrays = {"a": np.concatenate([line, line**2, np.sin(line)], axis=1), "b": draw.normal(size=(600, 3))}
    arrays["b"][:, 0] = draw.integers(0, 5, 600)
    report = cl.interactions(arrays, target=(line[:, 0] + draw.normal(size=600) > 0), settings=QUICK)
    assert report.diagnostics.trusted, report.verdict


@pytest.mark.parametrize(("columns", "leaks"), [(None, True), ([], False), ([0, 1], False), ([2], True)])
def test_a_dimension_of_a_model_that_tells_the_target_is_no_leak(columns, leaks):
    draw = np.random.default_rng(6)
    target = np.sort(draw.integers(0, 4, 600))
    arrays = {"a": draw.normal(size=(600, 3)), "b": draw.normal(size=(600, 3))}
    arrays["a"][:, 2] = np.linspace(0, 1, 600)  # each class has its own range of this column
    given = None if columns is None else {"a": arrays["a"][:, columns]} if columns else {}
    gathered = GatheredInputs(
        Material(arrays, columns=given), lambda _: (target, "y"), 600, np.arange(600), None
    )
    verdict = ask(gathered, target, settings=QUICK).verdict
    assert verdict.startswith("CANNOT BE TRUSTED: column") == leaks


@pytest.mark.parametrize("levels", [3, 10**6])
def test_embedded_rows_of_a_few_categories_are_no_copies(levels):
    draw = np.random.default_rng(0)
    rows = draw.integers(0, levels, (2, 250, 5))[:, np.arange(500) % 250] / levels
    rows[1] = draw.permutation(rows[1])
    given = dict(zip("ab", rows, strict=True))
    embedded = {name: np.tanh(values @ draw.normal(size=(5, 8))) for name, values in given.items()}
    target = (rows[0, :, 0] + draw.normal(size=500) > 0.4).astype(int)
    gathered = GatheredInputs(
        Material(embedded, columns=given), lambda _: (target, "y"), 500, np.arange(500), None
    )
    report = ask(gathered, target, settings=QUICK)
    assert report.diagnostics.trusted == (levels == 3), report.verdict
    assert any("records with a copy on the other side" in warning for warning in report.warnings)


@pytest.mark.parametrize("change", ["as it is", "other codes", "as a number"])
def test_a_column_that_holds_the_target_cannot_be_trusted(change):
    arrays, _ = noise(600, 4)
    draw = np.random.default_rng(5)
    target = draw.normal(size=600) if change == "as a number" else draw.integers(0, 4, 600)
    column = np.array([30, 10, 40, 20])[target] if change == "other codes" else target
    arrays["a"][:, 3] = column
    report = cl.interactions(arrays, target=target, settings=QUICK)
    assert report.verdict.startswith("CANNOT BE TRUSTED: column 3 of 'a' predicts 'target'")


@pytest.mark.parametrize("first", [0, 1])
def test_a_category_that_holds_the_target_is_named(first):
    """Raw columns of a table show a category as a column of zeros and ones per value."""
    draw = np.random.default_rng(5)
    codes = draw.integers(0, 4, 400)
    columns = np.column_stack([draw.normal(size=(400, 6)), np.eye(4)[codes][:, first:]])
    (sign,) = diagnose._columns_that_answer("a", columns, prepare_target(codes, "y", None, 5))
    assert sign.startswith(f"columns {', '.join(map(str, range(6, 10 - first)))} of 'a', as of a category")
    finer = prepare_target(codes // 2, "y", None, 5)  # two categories are one class
    assert diagnose._columns_that_answer("a", columns, finer)
    noisy = prepare_target(np.where(np.arange(400) < 40, (codes + 1) % 4, codes), "y", None, 5)
    assert diagnose._columns_that_answer("a", columns, noisy) == []


def test_without_a_curve_nothing_is_claimed_about_more_records():
    _, target = noise(600, 4)
    even = dict.fromkeys(choose_subsets("every", ("a", "b")), np.log(np.full((600, 2), 0.5)))
    given = Evidence({}, {}, {}, target, make_folds(target, None, 5, 0))
    view = make_view(even, given, QUICK)
    diagnosis, doubts = diagnose.diagnose(even, view, Curve({}, {}), Limits(1.0), given, [], 0.0)
    assert not doubts
    assert diagnosis.verdict.endswith("as far as can be seen without a learning curve.")


def test_a_unique_part_of_three_modalities_that_grows_is_in_the_verdict():
    arrays, target = noise(300, 4)
    arrays["c"] = arrays["a"] + 1.0
    names = choose_subsets("every", tuple(arrays))
    even = dict.fromkeys(names, np.log(np.full((300, 2), 0.5)))
    growth = {QuantityKey("unique", (("a",),)): Growth(0.2, 0.01)}
    settled = Evidence({}, {}, {}, target, make_folds(target, None, 5, 0))
    view = make_view(even, settled, QUICK, growth, Limits(1.0))
    assert view.unique["a"].growing
    assert diagnose._verdict(view, Limits(1.0)).startswith("AT LEAST: the unique parts can only")


def test_a_column_that_numbers_groups_is_named():
    draw = np.random.default_rng(6)
    patient = np.repeat(np.arange(120), 5)
    arrays = {"a": np.column_stack([draw.normal(size=(600, 2)), patient]), "b": draw.normal(size=(600, 3))}
    report = cl.interactions(arrays, target=draw.integers(0, 2, 120)[patient], settings=QUICK)
    assert "column 2 of 'a' has 120 values" in report.verdict
    assert "pass it as groups=" in report.verdict


def test_codes_of_many_classes_are_not_taken_for_a_number_in_silence():
    codes = np.arange(600) % 40
    assert "40 whole values and was treated as a number" in prepare_target(codes, "site", None, 5).severe[0]
    assert prepare_target(codes, "site", 8, 5).severe == ()
    assert len(prepare_target(codes.astype(str), "site", None, 5).classes) == 40


# ------------------------------------------------------------------------ saved reports and own posteriors
def test_a_report_is_read_back(open_ended):
    values = json.loads(json.dumps(open_ended.to_dict()))
    assert next(iter(values)) == "verdict"
    assert values["settings"]["seed"] == values["seed"] == 0
    assert values["version"]
    again = InteractionReport.from_dict(values)
    assert str(again) == str(open_ended)
    assert json.loads(json.dumps(again.to_dict())) == values
    with pytest.raises(CommlearnError, match="does not contain the records' shares"):
        again.contributions()


def test_own_posteriors_take_the_place_of_the_experts():
    arrays, target = noise(600, 7)
    nothing, sure = np.full((600, 2), 0.5), 0.96 * np.eye(2)[target] + 0.02
    own = {"a": nothing, "b": nothing, ("a", "b"): sure}
    report = cl.interactions(arrays, target=target, posteriors=own, settings=QUICK)
    assert report.atoms.synergistic.bits > 0.95
    assert report.combination.p is None
    assert report.linear.total.bits < 0.1
    with pytest.raises(CommlearnError, match=r"\('a', 'b'\) is missing"):
        cl.interactions(arrays, target=target, posteriors={"a": nothing, "b": nothing}, settings=QUICK)


def test_columns_of_a_frame_are_assigned_to_classes_by_their_names():
    arrays, target = noise(600, 7)
    nothing, sure = np.full((600, 2), 0.5), 0.96 * np.eye(2)[target] + 0.02
    swapped = pd.DataFrame({"yes": sure[:, 1], "no": sure[:, 0]})
    own = {"a": nothing, "b": nothing, ("a", "b"): swapped}
    labels = np.array(["no", "yes"])[target]
    report = cl.interactions(arrays, target=labels, posteriors=own, settings=QUICK)
    assert report.atoms.synergistic.bits > 0.95
    twice = pd.DataFrame(np.full((600, 3), 1 / 3), columns=["no", "yes", "yes"])
    with pytest.raises(CommlearnError, match="has shape"):
        cl.interactions(arrays, target=labels, posteriors=own | {"a": twice}, settings=QUICK)


def test_more_is_not_claimed_of_a_linear_probe_than_there_is():
    draw = np.random.default_rng(8)
    arrays = {name: draw.normal(size=(400, 2)) for name in "ab"}
    target = (arrays["a"][:, 0] + arrays["b"][:, 0] + 0.3 * draw.normal(size=400) > 0).astype(int)
    text = str(cl.interactions(arrays, target=target, settings=QUICK))
    part, whole = map(float, text.split("read linearly (")[1].split(" bits")[0].split(" of "))
    assert part <= whole
    assert "2n*" not in text  # no learning curve was run
    assert "one bit answers one yes-or-no question" in text


def test_components_that_hold_little_of_many_columns_are_told():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 600)
    narrow, level = labels[:, None] + draw.normal(size=(600, 4)), draw.normal(size=(600, 1))
    wide = {"noise": draw.normal(size=(600, 300)), "one thing": level + 0.3 * draw.normal(size=(600, 300))}
    text = {}
    for name, values in wide.items():
        warnings = cl.interactions({"a": narrow, "b": values}, target=labels, settings=QUICK).warnings
        text[name] = [warning for warning in warnings if "components of 'b' hold" in warning]
    assert "64 components of 'b' hold" in text["noise"][0]
    assert "300 columns" in text["noise"][0]
    assert not text["one thing"]
