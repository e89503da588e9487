"""The interaction report: known answers, results, inputs and errors."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from known_decompositions import gate, known_twins
from sklearn.datasets import load_digits
from sklearn.kernel_ridge import KernelRidge

import commlearn as cl
from commlearn.batch import choose_subsets
from commlearn.errors import CommlearnError
from commlearn.information import InteractionReport, LabelReports, Settings, evidence
from commlearn.information import calibrate as calibration
from commlearn.information import report as report_words
from commlearn.information.ask import ask
from commlearn.information.calibrate import Twin, calibrate, calibrate_like
from commlearn.information.curve import Curve, Growth
from commlearn.information.estimate import QuantityKey, information_of
from commlearn.information.experts.posteriors import linear_family
from commlearn.information.material import Material, label_columns, prepare_target
from commlearn.information.pid import Pid, order_spectrum
from commlearn.information.sources import GatheredInputs, gather
from commlearn.information.views import Estimate

QUICK = Settings(repeats=1, bootstrap=3, permutations=39, curve=False)
FAR = {"a": 2.0, "b": 1.0}  # distance between the two classes, in standard deviations
ATOMS = ("redundant", "unique1", "unique2", "synergistic")


def twin(name: str) -> Twin:
    return next(one for one in known_twins() if one.name == name)


def worst(report: InteractionReport, of: Twin) -> float:
    truth = of.truth()
    return max(abs(getattr(report.atoms, name).bits - getattr(truth, name)) for name in ATOMS)


@pytest.fixture(scope="module")
def xor() -> InteractionReport:
    arrays, target = twin("XOR").sample(1000, seed=1)
    return cl.interactions(arrays, target=target, settings=QUICK)


# ------------------------------------------------------------------------------------------- known answers
def test_synergy_behind_noise_is_found(xor):
    assert worst(xor, twin("XOR")) < 0.1
    assert xor.atoms.synergistic.p <= 0.05
    assert xor.combination.p <= 0.05
    assert xor.atoms.redundant.p > 0.05
    first, second = xor.modalities
    assert "sees none of the synergy (0.0" in str(xor)  # the bits follow the reader that they are of
    assert f"{first}, given {second}, adds" in str(xor)


def test_shared_information_behind_noise_is_found():
    arrays, target = twin("RDN").sample(1000, seed=2)
    report = cl.interactions(arrays, target=target, settings=QUICK)
    assert worst(report, twin("RDN")) < 0.12
    assert report.combination.p > 0.01  # noisy copies are independent given the class


def test_a_broken_estimator_fails_the_same_test(monkeypatch):
    monkeypatch.setattr(evidence, "rich_family", linear_family)
    arrays, target = twin("XOR").sample(600, seed=1)
    assert worst(cl.interactions(arrays, target=target, settings=QUICK), twin("XOR")) > 0.5


def test_a_closed_form_behind_gaussian_noise_is_found():
    draw = np.random.default_rng(0)
    target = draw.integers(0, 2, 2000)
    arrays = {name: (apart * (target - 0.5) + draw.normal(size=2000))[:, None] for name, apart in FAR.items()}
    report = cl.interactions(arrays, target=target, settings=QUICK)
    closed_form = {"redundant": 0.1607, "unique1": 0.3252, "unique2": 0.0, "synergistic": 0.0744}
    for part, bits in closed_form.items():
        assert getattr(report.atoms, part).bits == pytest.approx(bits, abs=0.06)


def test_parity_of_pairs_of_real_digits_is_found_on_images_that_no_other_fold_shows():
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    other, mine = order[:900], order[900:]  # images for the encoder, and for the pairs
    encoder = KernelRidge(alpha=0.01, kernel="rbf", gamma=0.2)
    codes = encoder.fit(images[other] / 16, np.eye(10)[labels[other]] - 0.1).predict(images[mine] / 16)
    draw = np.random.default_rng(1)
    left, right = np.concatenate(
        [draw.choice(part, (2, 160)) for part in np.array_split(np.arange(897), 5)], 1
    )
    parity = (labels[mine][left] + labels[mine][right]) % 2
    arrays = {"left": codes[left], "right": codes[right]}
    report = cl.interactions(arrays, target=parity, groups=np.repeat(np.arange(5), 160), settings=QUICK)
    assert [getattr(report.atoms, name).bits for name in ATOMS] == pytest.approx([0, 0, 0, 1], abs=0.15)
    assert "sees none of the synergy" in str(report)


def test_shuffled_labels_hold_nothing():
    arrays, target = twin("AND").sample(1000, seed=3)
    shuffled = np.random.default_rng(0).permutation(target)
    report = cl.interactions(arrays, target=shuffled, settings=QUICK)
    assert report.atoms.synergistic.bits <= 0.02
    assert all(getattr(report.atoms, name).p > 0.05 for name in ATOMS)


def test_scale_rotation_and_copies_of_columns_do_not_matter():
    arrays, target = twin("AND").sample(600, seed=4)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 32)))
    moved = {"a": np.tile(1000 * arrays["a"], 2), "b": arrays["b"] @ turn}
    plain, again = (cl.interactions(one, target=target, settings=QUICK) for one in (arrays, moved))
    for name in ATOMS:
        assert getattr(plain.atoms, name).bits == pytest.approx(getattr(again.atoms, name).bits, abs=0.05)


def test_three_modalities_have_a_spectrum():
    parity = gate("parity", lambda a, b, c: a ^ b ^ c, (4, 4, 4), dimensions=5)
    arrays, target = parity.sample(1000, seed=0)
    report = cl.interactions(arrays, target=target, settings=QUICK)
    truth = order_spectrum(parity.binned(30)).spectrum
    assert [part.bits for part in report.data.spectrum] == pytest.approx(truth, abs=0.15)
    assert sum(part.bits for part in report.data.shapley.values()) == pytest.approx(report.data.total.bits)
    assert len(report.data.pairs) == 6
    assert "3 together add" in str(report)


@pytest.mark.parametrize("names", [("a", "b", "c"), ("a", "b", "c", "d")])
def test_what_the_fusion_of_a_pair_shows_is_credited_to_pairs(names):
    draw = np.random.default_rng(0)
    bits = draw.integers(0, 2, size=(2, 240))
    shown = (bits[0] ^ bits[1])[:, None] + 0.1 * draw.normal(size=(240, 2))
    arrays = {name: draw.normal(size=(240, 2)) for name in names}  # noise, without the fusion
    subsets = [subset for subset in choose_subsets("every", names) if len(subset) > 1]
    fused = {subset: shown if {"a", "b"} <= set(subset) else 0 * shown for subset in subsets}
    gathered = GatheredInputs(
        Material(arrays, fused), lambda target: (target, "xor"), 240, np.arange(240), None
    )
    report = ask(gathered, bits[0] ^ bits[1], settings=QUICK)
    spectrum = [part.bits for part in report.data.spectrum]
    if len(names) == 3:
        assert spectrum == pytest.approx([0, 1, 0], abs=0.05)
        assert report.data.ladder["a", "b"].bits == pytest.approx(report.data.total.bits, abs=0.05)
    else:  # no order, neither pairs nor all, is credited with what a fusion shows
        assert spectrum == pytest.approx([0, 0, 0, 0], abs=0.05)
        assert any(
            "with more than three modalities, every subset is measured on" in note for note in report.notes
        )
    assert report.representation.ladder["a", "b"].bits > 0.9


# ------------------------------------------------------------------------------------------------- results
def test_parts_sum_to_the_total(xor):
    assert sum(getattr(xor.atoms, name).bits for name in ATOMS) == pytest.approx(xor.data.total.bits)
    shares = xor.contributions()
    assert shares["synergistic"].mean() == pytest.approx(xor.atoms.synergistic.bits, abs=0.02)
    assert len(shares) == 1000


def test_it_becomes_json_a_frame_words_and_a_picture(xor, tmp_path):
    values = json.loads(json.dumps(xor.to_dict()))
    assert values["views"]["data"]["pairs"][0]["synergistic"]["bits"] == xor.atoms.synergistic.bits
    frame = xor.to_frame().set_index(["view", "quantity", "of"])
    assert frame.loc[("data", "synergistic", "a | b"), "bits"] == xor.atoms.synergistic.bits
    assert "together they provide" in str(xor)
    xor.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 1000


def test_names_with_separators_in_them_stay_apart(tmp_path):
    draw = np.random.default_rng(0)
    bits = draw.integers(0, 2, size=(2, 400))
    names = ("x", "a|b", "x + y")
    arrays = {
        "x": draw.normal(size=(400, 2)),
        "a|b": bits[:1].T + 0.1 * draw.normal(size=(400, 2)),
        "x + y": bits[1:].T + 0.1 * draw.normal(size=(400, 2)),
    }
    settings = Settings(bootstrap=2, permutations=19)
    report = cl.interactions(arrays, target=bits[0] ^ bits[1], settings=settings)
    assert report.modalities == names
    assert [part.bits for part in report.data.spectrum] == pytest.approx([0, 1, 0], abs=0.05)
    assert report.data.numbers[QuantityKey("synergistic", (("a|b",), ("x + y",)))].p <= 0.05
    values = json.loads(json.dumps(report.to_dict()))
    numbers = len(report.data.numbers)
    assert (
        len(values["curve"])
        == len(values["extrapolated"])
        == len(set(map(str, report.data.numbers)))
        == numbers
    )
    assert len(values["diagnostics"]["calibration"]) == 7
    frame = report.to_frame().query("view == 'data' and quantity == 'synergistic'").set_index("of")
    assert frame.loc["'a|b' | 'x + y'", "bits"] == pytest.approx(1, abs=0.05)
    assert "'a|b' against 'x + y': shared 0.00" in str(report)
    report.plot(tmp_path / "report.png")


def test_the_learning_curve_says_what_a_modality_is_worth():
    arrays, target = twin("UNQ1").sample(600, seed=0)
    settings = Settings(bootstrap=0, permutations=19)
    report = cl.interactions(arrays, target=target, settings=settings)
    worth = report.curve.worth
    assert [gain.records for gain in worth["a"]] == [300, 600]
    assert worth["a"][-1].bits > 0.6 > 0.1 > worth["b"][-1].bits
    assert worth["a"][-1].accuracy > 0.3
    total = report.curve.numbers[information_of(("a", "b"))]
    more = report.curve.extrapolated()[information_of(("a", "b"))]
    assert more == pytest.approx(2 * total[600] - total[300])
    assert report.to_dict()["extrapolated"]["information: a + b"] == more


def test_predictions_of_a_model_are_a_view_of_their_own():
    draw = np.random.default_rng(0)
    target = draw.integers(0, 2, 400)
    arrays = {"a": draw.normal(size=(400, 3)), "b": draw.normal(size=(400, 3))}
    sure = np.eye(2)[target] * 0.98 + 0.01
    claims = {"a": np.full((400, 2), 0.5), "b": np.full((400, 2), 0.5), ("a", "b"): sure}
    report = cl.interactions(arrays, target=target, predictions=claims, settings=QUICK)
    assert report.model.pairs[0].synergistic.bits > 0.9
    assert report.data.pairs[0].synergistic.bits < 0.1


# -------------------------------------------------------------------------------------------------- inputs
def columns(records: int = 300) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    bits = draw.integers(0, 2, size=(2, records))
    return pd.DataFrame(
        {
            "hb": bits[0] + 0.1 * draw.normal(size=records),
            "site": np.array(["north", "south"])[bits[1]],
            "ill": np.where(bits[0] ^ bits[1], "yes", "no"),
            "size": bits[0] + draw.normal(size=records),
            "who": np.arange(records) // 3,
        }
    )


def test_raw_columns_of_a_table_are_read_without_a_model():
    given = {"labs": ["hb"], "place": "site"}
    report = cl.interactions(given, columns(), target="ill", groups="who", settings=QUICK)
    assert report.atoms.synergistic.bits > 0.8
    assert report.where == "raw columns, no model"
    assert any("fewer than 500" in warning for warning in report.warnings)
    assert not report.diagnostics.trusted
    assert "CANNOT BE TRUSTED" in str(report)


def test_records_without_any_of_the_modalities_asked_about_are_left_out_and_counted():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(60, 3)), columns=["a", "b", "c"])
    frame.loc[[3, 7], ["a", "b"]] = np.nan
    kinds = {name: cl.Tabular([name]) for name in "abc"}
    schema = cl.Schema(kinds, targets={"label": "class"})
    frame["label"] = np.arange(60) % 2
    for source in (schema, cl.Embedder(schema, epochs=1).fit(frame)):
        gathered = gather(source, frame, ["a", "b"], None)
        assert gathered.material.records == 58
        assert gathered.material.notes[0] == "2 of 60 records lack a modality and were left out"


def test_marks_of_what_is_missing_do_not_depend_on_where_in_a_large_table_it_is():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(2500, 3)), columns=["x1", "x2", "x3"])
    frame.loc[10, "x1"] = frame.loc[2000, "x2"] = np.nan
    values = gather({"a": ["x1", "x2"], "b": ["x3"]}, frame, None, None).material.arrays["a"]
    assert values.shape == (2500, 4)
    assert [np.flatnonzero(marks).tolist() for marks in values[:, 2:].T] == [[10], [2000]]


def test_records_are_numbered_as_in_the_table_and_predictions_of_all_rows_are_read():
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"x": draw.normal(size=260), "z": draw.normal(size=260), "y": np.arange(260) % 2})
    frame.loc[:59, "x"] = np.nan
    frame.loc[62, "y"] = np.nan
    even, sure = np.full((260, 2), 0.5), np.eye(2)[np.arange(260) % 2] * 0.98 + 0.01
    even[0], sure[62] = np.nan, np.nan  # in rows that are left out
    claims = {"a": even, "b": even, ("a", "b"): sure}
    given = {"a": ["x"], "b": ["z"]}
    report = cl.interactions(given, frame, target="y", predictions=claims, settings=QUICK)
    shares = report.contributions()
    assert shares["record"].tolist() == [60, 61, *range(63, 260)]
    assert (shares["label"] == frame["y"][shares["record"]].map("{:.0f}".format).to_numpy()).all()
    assert report.model.total.bits > 0.9


def test_a_stated_class_of_many_codes_is_one_however_it_is_given():
    frame = columns().assign(icd=np.arange(300) % 30)
    kinds = {"labs": cl.Tabular(["hb"]), "place": cl.Tabular(["site"])}
    gathered = gather(cl.Schema(kinds, targets={"icd": "class", "size": "number"}), frame, None, None)
    assert list(gathered.targets) == ["icd", "size"]
    asked = [gathered.about(target).sort for target in ("icd", frame["icd"], "size", "ill")]
    assert asked == ["class", "class", "number", None]


@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame])
def test_one_column_is_a_target_and_a_frame_of_several_keeps_their_names(kind):
    gathered = gather(PAIR, None, None, np.arange(60)[:, None] // 2)
    assert gathered.groups.shape == (60,)
    one = gathered.about(kind(np.arange(60)[:, None] % 2))
    assert label_columns(one.values) is None
    assert len(prepare_target(one.values, one.name, None, 5).labels) == 60
    two = gathered.about(kind(pd.DataFrame({"drama": np.arange(60) % 2, "name": 0})))
    assert list(label_columns(two.values)) == (["drama", "name"] if kind is pd.DataFrame else ["0", "1"])


def test_embeddings_are_made_by_all_threads(monkeypatch):
    limited = []

    @contextmanager
    def limits(threads):
        limited.append(threads)
        yield

    def gathers(*given):
        assert not limited
        return gather(*given)

    monkeypatch.setattr("commlearn.information.ask.threadpool_limits", limits)
    monkeypatch.setattr("commlearn.information.ask.gather", gathers)
    with pytest.raises(CommlearnError, match="one class"):
        cl.interactions(PAIR, target=np.zeros(60))
    assert limited == [1]


def test_a_trained_model_is_asked_about_a_table():
    table = columns(120)
    schema = cl.Schema({"labs": cl.Tabular(["hb"]), "place": cl.Tabular(["site"])}, targets={"ill": "class"})
    model = cl.Embedder(schema, epochs=1, batch_size=60).fit(table)
    report = cl.interactions(model, table, target="ill", settings=QUICK)
    assert report.representation is not None
    assert set(report.views) == {"data", "linear", "representation", "raw"}
    with pytest.raises(CommlearnError, match="did you mean 'place'"):
        cl.interactions(model, table, target="ill", modalities=["labs", "places"])


def test_a_target_that_a_modality_reads_is_warned_of():
    gathered = gather({"labs": ["hb"], "place": "site"}, columns(), None, None)
    assert "'hb' is itself a column that the modality 'labs' reads" in gathered.about("hb").warnings[0]
    schema = cl.Schema({"labs": cl.Tabular(["hb"]), "place": cl.Tabular(["site"])}, targets={"hb": "number"})
    only_target = gather(schema, columns(), None, None).about(None)
    assert "'hb' is itself a column that the modality 'labs' reads" in only_target.warnings[0]
    assert gathered.about("ill").warnings == ()


def test_calibration_like_a_table_of_one_modality_asks_for_a_schema():
    with pytest.raises(CommlearnError, match="guessed to be one modality, table"):
        calibrate_like(columns(), "ill")


def test_calibration_takes_any_number_of_modalities_and_classes(monkeypatch):
    """Reports on over five modalities cover only pairs, and bin over 20 numbers; calibration does neither."""
    monkeypatch.setattr(evidence, "rich_family", linear_family)
    monkeypatch.setattr(Twin, "truth", lambda self, bins: Pid(0, 0, 0, 0, 0, 0))
    target = prepare_target((np.arange(660) % 22).astype(str), "y", None, 5)
    calibration = calibrate(target, (4,) * 6, repeats=1, settings=Settings(repeats=1, components=4))
    assert calibration.dimensions == (4,) * 6
    assert calibration.errors["unique to the first"]["unique1"][0] > np.log2(8)


def test_calibration_draws_enough_records_of_many_small_classes(monkeypatch):
    drawn = []
    monkeypatch.setattr(calibration, "gather_evidence", lambda given, target, *rest: drawn.append(target))
    monkeypatch.setattr(calibration, "best_logs", lambda given, settings: (None, None))
    monkeypatch.setattr(calibration, "measure", lambda logs, labels: None)
    label, other = np.indices((25, 25))
    latents = np.zeros((25, 25, 25))
    latents[label, other, label] = 1 / 625
    with pytest.raises(AttributeError):  # there is nothing to measure
        calibration._estimate(Twin("small classes", latents, (4.0, 3.0), 4), 125, 0, Settings())
    assert np.bincount(drawn[0].labels).tolist() == [5] * 25


def test_several_labels_give_one_report_each_and_what_cannot_be_asked_is_named(tmp_path):
    table = columns()
    labels = [
        ("ill",) if word == "yes" else ("well", "north/south", "rare")[: 1 + (row % 2) + (row < 8)]
        for row, word in enumerate(table["ill"])
    ]
    arrays = {"a": table[["hb"]].to_numpy(), "b": (table["site"] == "north").to_numpy()[:, None]}
    reports = cl.interactions(arrays, target=labels, settings=QUICK)
    assert isinstance(reports, LabelReports)
    assert list(reports.reports) == ["ill", "north/south", "well"]
    assert set(reports.to_frame()["label"]) == {"ill", "north/south", "well"}
    assert "class '1' has" in reports.to_dict()["skipped"]["rare"]
    assert str(reports).startswith("Warning: label 'rare' was left out: target 'target: rare'")
    reports.plot(tmp_path / "labels.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"labels-{label}.png" for label in ("ill", "north%2Fsouth", "well")
    ]


# ------------------------------------------------------------------------------------------- invalid inputs
PAIR = {
    "a": np.random.default_rng(0).normal(size=(60, 2)),
    "b": np.random.default_rng(1).normal(size=(60, 2)),
}


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        (PAIR | {"b": np.zeros((59, 2))}, {"target": np.arange(60) % 2}, "'a' 60, 'b' 59"),
        (PAIR | {"b": np.full((60, 2), np.nan)}, {"target": np.arange(60) % 2}, "60 of 60 records"),
        ({"a": np.zeros((60, 2))}, {"target": np.arange(60) % 2}, "at least two modalities"),
        (PAIR, {"target": np.zeros(60)}, "one class, '0'"),
        (PAIR, {"target": [1] * 3 + [0] * 57}, "class '1' has 3 records"),
        (PAIR, {"target": np.full(60, np.nan)}, "has no values: all 60 are empty"),
        (PAIR, {"target": np.zeros((60, 2))}, "none of its labels can be analysed: 2 problems"),
        (PAIR, {"target": [()] * 60}, "none of its labels can be analysed: no record has any label"),
        (PAIR, {"target": pd.DataFrame(np.eye(60, 2), columns=["y", "y"])}, "2 columns, but only 1 names"),
        (PAIR, {"target": np.arange(60) % 2, "groups": np.zeros((60, 2))}, r"groups has shape \(60, 2\)"),
        (PAIR | {"b": 3}, {"target": np.arange(60) % 2}, r"'b' has shape \(\)"),
        (PAIR | {"b": np.zeros((0, 3))}, {"target": np.arange(60) % 2}, r"'b' has shape \(0, 3\)"),
        (PAIR | {"b": np.zeros((60, 0))}, {"target": np.arange(60) % 2}, r"'b' has shape \(60, 0\)"),
        ({"a": ["x"], "b": ["z"]}, {"data": pd.DataFrame({"x": [1.0], "z": [2.0]})}, "Name a target"),
        (PAIR, {"target": np.zeros(10)}, "has 10 values, but the modalities have 60"),
        (PAIR, {"target": np.arange(60) % 2, "groups": np.arange(60) % 3}, "3 distinct values"),
        (PAIR, {"target": np.arange(60) % 2, "groups": np.arange(9)}, "groups has 9 values"),
        (PAIR, {"target": np.arange(60) % 2, "modalities": ["a", "c"]}, "Unknown modality 'c'"),
        (PAIR, {"target": "y"}, "there is no table"),
        ({0: np.ones(60), 1: np.ones(60)}, {"target": np.arange(60) % 2}, "The modalities are named 0, 1"),
        (PAIR, {"target": 3}, "target=3 is not one value per record"),
        (PAIR, {}, "Name a target"),
        (7, {"target": np.arange(60) % 2}, "neither a model nor a dict of arrays"),
    ],
)
def test_what_cannot_be_asked_is_named(arrays, options, message):
    with pytest.raises(CommlearnError, match=message):
        cl.interactions(arrays, settings=QUICK, **options)


@pytest.mark.parametrize("given", ["predictions", "posteriors"])
def test_probabilities_that_are_none_or_of_another_target_are_refused(given):
    even = np.full((60, 2), 0.5)
    for wrong in (np.nan, -0.1, np.inf):
        odd = {"a": even, "b": np.full((60, 2), wrong), ("a", "b"): even}
        with pytest.raises(CommlearnError, match=r"\('b',\) has negative or non-finite .* in 60 of 60"):
            cl.interactions(PAIR, target=np.arange(60) % 2, **{given: odd})
    several = [("x",), ("y",)] * 30
    with pytest.raises(CommlearnError, match="and 'target' has several labels"):
        cl.interactions(PAIR, target=several, **{given: {"a": even}})


def test_tensors_that_are_still_learned_from_are_arrays():
    tensors = {name: torch.tensor(values, requires_grad=True) for name, values in PAIR.items()}
    assert gather(tensors, None, None, None).material.arrays["a"] == pytest.approx(PAIR["a"])


@pytest.mark.parametrize("seed", [-1, 2**32 - 2000, 2**32])
def test_seeds_that_cannot_be_drawn_with_are_named(seed):
    with pytest.raises(CommlearnError, match=f"seed is {seed}; give a whole number from 0 to 4294965295"):
        Settings(seed=seed)


def test_what_is_being_done_is_told_under_either_name_of_the_argument():
    target, lines, old = np.arange(60) % 2, [], []
    cl.interactions(PAIR, target=target, settings=QUICK, tell=lines.append)
    with pytest.warns(DeprecationWarning, match="is now tell=; the old name will be removed in 0.3.0"):
        cl.interactions(PAIR, target=target, settings=QUICK, told=old.append)
    assert old == lines
    assert {"fitting experts for a", "intervals"} <= {*lines}


def test_settings_are_checked_together():
    with pytest.raises(CommlearnError, match="2 problems"):
        Settings(folds=1, level=2.0)


@pytest.mark.parametrize(
    ("name", "value"), [("folds", 5.0), ("bootstrap", "3"), ("bins", 3.5), ("seed", None), ("level", "0.9")]
)
def test_settings_of_another_type_are_named(name, value):
    with pytest.raises(CommlearnError, match=f"{name} is {value!r}; give a"):
        Settings(**{name: value})


def test_numbers_of_numpy_as_settings_become_plain_ones():
    settings = Settings(bins=np.int64(4), seed=np.uint32(7), level=np.float32(0.5))
    assert json.loads(json.dumps(asdict(settings)))["bins"] == 4
    assert settings == Settings(bins=4, seed=7, level=0.5)


def test_a_missing_value_in_a_list_of_texts_is_no_class_and_no_group():
    target = ["x", "y", float("nan")] * 20
    inputs = gather(PAIR, None, None, ["p", "q", float("nan")] * 20).about(target)
    assert prepare_target(inputs.values, "y", None, 5).classes == ("x", "y")
    assert (
        len(np.unique(evidence.group_codes(inputs.groups, 5))) == 2 + 20
    )  # each record without one is alone


def test_masked_values_are_missing():
    mask = np.arange(60) < 6
    inputs = gather(PAIR, None, None, np.ma.masked_array(np.arange(60) % 9, mask=mask)).about(
        np.ma.masked_array(np.arange(60) % 2, mask=mask)
    )
    assert prepare_target(inputs.values, "y", None, 5).rows.tolist() == list(range(6, 60))
    assert len(np.unique(evidence.group_codes(inputs.groups, 5))) == 9 + 6
    with pytest.raises(CommlearnError, match="'a' is not finite in 6 of 60 records, the first is record 0"):
        gather({**PAIR, "a": np.ma.masked_array(np.arange(60), mask=mask)}, None, None, None)


def test_counts_with_a_rare_value_name_the_setting_for_numbers():
    counts = [*range(5)] * 12 + [9]
    with pytest.raises(CommlearnError, match=r"class '9' has 1 records.* If it is a number, set bins=\."):
        prepare_target(counts, "visits", None, 5)
    assert len(prepare_target(counts, "visits", 3, 5).classes) == 3
    counts = [*range(12)] * 5
    assert len(prepare_target(counts, "visits", None, 5, "number").classes) == 12  # a schema states it
    assert len(prepare_target([*counts, 30], "visits", None, 5, "number").classes) == 8
    with pytest.raises(CommlearnError, match=r"leave its records out\.$"):
        prepare_target([*"ab"] * 12 + ["c"], "sort", None, 5)


def test_many_classes_of_few_records_are_one_problem():
    with pytest.raises(
        CommlearnError, match="5000 of 5000 classes have fewer than 5 records, such as"
    ) as error:
        prepare_target([f"name {row}" for row in range(5000)], "y", None, 5)
    assert "\n" not in str(error.value)


def test_numbers_are_cut_into_classes_and_checked_against_a_closed_form():
    draw = np.random.default_rng(0)
    value = draw.normal(size=1500)
    arrays = {name: (value + draw.normal(size=1500))[:, None] for name in "ab"}
    report = cl.interactions(arrays, target=value, settings=QUICK)
    assert any("cut into 8 classes" in note for note in report.notes)
    assert any("would share 0.5" in note or "would share 0.4" in note for note in report.notes)
    assert report.atoms.redundant.bits == pytest.approx(0.45, abs=0.12)


@pytest.mark.slow
def test_a_run_without_a_table_is_asked_about_its_own_images(tmp_path, monkeypatch):
    from commlearn.information import sources as own_data

    changes = {"training.epochs": 1, "data.train_pairs": 64, "data.size": 24}
    run = cl.train(cl.read_experiment("trifeature-quick", changes), tmp_path / "run")
    monkeypatch.setattr(own_data, "_PAIRS", 500)
    report = cl.interactions(tmp_path / "run", target="shared", settings=QUICK)
    assert run.folder.path == tmp_path / "run"
    assert "no image in two folds" in report.where
    assert report.records == 500
    assert len(report.target.classes) == 10


@pytest.mark.slow
def test_of_more_than_five_modalities_each_pair_is_read(tmp_path):
    draw = np.random.default_rng(0)
    bits = draw.integers(0, 2, size=(6, 600))
    arrays = {
        name: bit[:, None] + 0.2 * draw.normal(size=(600, 2))
        for name, bit in zip("abcdef", bits, strict=True)
    }
    settings = Settings(curve=False, bootstrap=2, permutations=19)
    report = cl.interactions(arrays, target=bits[1] ^ bits[4], settings=settings)
    assert str(report).startswith(report.verdict)
    assert "b and e have the largest synergy" in str(report)
    frame = report.to_frame().query("quantity == 'synergistic'").set_index("of")["bits"]
    assert len(frame) == 15
    assert frame.idxmax() == "b + e"
    assert frame["b + e"] > 0.9 > 0.1 > frame.drop("b + e").max()
    values = json.loads(json.dumps(report.to_dict()))
    assert values["total"]["bits"] > 0.9
    report.plot(tmp_path / "pairs.png")
    assert (tmp_path / "pairs.png").stat().st_size > 1000


@pytest.mark.slow
def test_copies_among_many_modalities_are_refused():
    draw = np.random.default_rng(0)
    arrays = {name: np.tile(draw.normal(size=(150, 3)), (4, 1)) for name in "abcdef"}
    settings = Settings(curve=False, bootstrap=2, permutations=19)
    report = cl.interactions(arrays, target=np.tile(draw.integers(0, 2, 150), 4), settings=settings)
    assert report.verdict.startswith("CANNOT BE TRUSTED")
    assert any(
        "'a' has 150 distinct values in 600 records" in warning for warning in report.to_dict()["warnings"]
    )


def test_predictions_of_many_modalities_are_refused_and_not_dropped():
    arrays = {name: np.random.default_rng(0).normal(size=(60, 2)) for name in "abcdef"}
    even = np.full((60, 2), 0.5)
    for given in ("predictions", "posteriors"):
        with pytest.raises(CommlearnError, match="of 6 modalities only pairs are measured; choose at most 5"):
            cl.interactions(arrays, target=np.arange(60) % 2, **{given: {"a": even}})


def test_frames_of_the_same_rows_in_different_orders_are_refused():
    table = pd.DataFrame({"a": np.arange(40.0), "b": np.arange(40.0) % 7, "y": np.arange(40) % 2})
    shuffled = table[["a"]].sample(frac=1, random_state=0)
    with pytest.raises(CommlearnError, match="same rows in different orders"):
        cl.interactions({"a": shuffled, "b": table[["b"]]}, target=table["y"])
    with pytest.raises(CommlearnError, match="'a' and 'target'"):
        cl.interactions({"a": shuffled, "b": shuffled.to_numpy()}, target=table["y"])
    mixed = table.loc[shuffled.index]
    named = {"a": ["a"], "b": ["b"]}
    model = cl.Embedder(cl.Schema({name: cl.Tabular([name]) for name in "ab"}), epochs=1).fit(table)
    for source, options, names in (
        ({"a": table[["a"]], "b": table[["b"]]}, {"target": "y"}, "'a' and 'data'"),
        (named, {"target": table["y"]}, "'data' and 'target'"),
        (named, {"target": "y", "groups": table["b"]}, "'data' and 'groups'"),
        (model, {"target": table["y"]}, "'data' and 'target'"),
    ):
        with pytest.raises(CommlearnError, match=f"{names} have the same rows in different orders"):
            cl.interactions(source, mixed, **options)


@pytest.mark.parametrize(
    ("p", "of_synergy", "expected"),
    [
        (0.02, 1.0, "no evidence that the combination itself matters (p = 1.00)"),
        (0.02, 0.01, "; the combination itself matters (p = 0.02)"),
        (0.3, 0.01, "no evidence that the combination itself matters (p = 0.30)"),
        (None, 0.01, "could not be tested"),
    ],
)
def test_a_combination_matters_only_where_there_is_a_synergy(p, of_synergy, expected):
    synergy = SimpleNamespace(bits=0.4, p=of_synergy)
    pair = SimpleNamespace(synergistic=synergy)
    part = SimpleNamespace(bits=0.1)
    data = SimpleNamespace(total=SimpleNamespace(bits=0.5), spectrum=(part, part), pairs=(pair,))
    report = SimpleNamespace(data=data, combination=SimpleNamespace(independent=0.2, p=p))
    assert expected in report_words._chance(report)


def test_what_rounds_to_nothing_is_not_called_present():
    assert "too small" in report_words._tested(SimpleNamespace(bits=0.004, p=0.001))
    assert "p < 0.01" in report_words._tested(SimpleNamespace(bits=0.4, p=0.001))


@pytest.mark.parametrize(
    ("growing", "before", "expected"),
    [
        (False, 0.67, "change the total little: it moved by +0.03"),
        (True, 0.6, "probably raise the total: it grew by +0.10"),
        (True, 0.69, "perhaps raise the total: it moved by +0.01"),
    ],
)
def test_what_more_records_would_change_agrees_with_the_verdict(growing, before, expected):
    curve = Curve({information_of(("a", "b")): {500: before, 1000: 0.7}}, {})
    data = SimpleNamespace(total=Estimate(0.7, 0.6, 0.8, 0.02, growing=growing))
    report = SimpleNamespace(data=data, curve=curve, modalities=("a", "b"))
    assert report_words._more_data(report) == [
        f"More records would {expected} bits from 500 to 1000 records."
    ]


def test_the_curve_predicts_no_more_than_certainty():
    both = ("a", "b")
    key = information_of(both)
    curve = Curve({key: {500: 0.6, 1000: 0.9}}, {}, {key: Growth(0.3, 0.01)})
    data = SimpleNamespace(
        ladder={both: Estimate(0.9, 0.8, 1.0, 0.02)}, accuracy={both: 0.9}, balanced_accuracy={both: 0.9}
    )
    line = report_words._ladder(SimpleNamespace(data=data, curve=curve, entropy=1.0))[1]
    assert line.split()[3:7] == ["0.90", "[0.80,", "1.00]", "1.00"]
