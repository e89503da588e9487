"""Comparisons: refused before training starts, with failures reported separately and paired differences."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import closing

import numpy as np
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg

from commlearn.cli import main
from commlearn.comparison import job, table, workers
from commlearn.comparison.baselines import BASELINES
from commlearn.comparison.compare import compare
from commlearn.comparison.plan import ComparisonSource, Job, Member, members_of, plan, with_method
from commlearn.comparison.table import Prediction, _updates, values_of_draws
from commlearn.config.build import build_method, learned_features
from commlearn.config.configuration import Score, Training, read_experiment
from commlearn.errors import ConfigurationError, DataError, RunError
from commlearn.plot import comparison as chart
from commlearn.records import Dataset, Records, VectorColumn
from commlearn.storage.locks import hold

SMALL = {"training.epochs": 1, "training.batch_size": 16, "model.width": 16, "training.log_every": 1}


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    """Schema of a table whose targets depend on the first modality; the second is noise."""
    folder = tmp_path_factory.mktemp("own")
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(90, 4)).round(3)
    lines = ["a0,a1,b0,b1,y,size,tags,split"]
    for number, row in enumerate(rows):
        tags = "; ".join(name for name, value in zip("pq", row[:2], strict=True) if value > 0)
        label = "yes" if row[0] > 0 else "no"
        part = "train" if number < 60 else "test"
        lines.append(f"{row[0]},{row[1]},{row[2]},{row[3]},{label},{row[1]},{tags or 'none'},{part}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    stated = {
        "table": "table.csv",
        "modalities": {
            "a": {"kind": "tabular", "columns": ["a0", "a1"]},
            "b": {"kind": "tabular", "columns": ["b0", "b1"]},
        },
        "targets": {"y": "class", "size": "number", "tags": "multilabel"},
        "split": "split",
    }
    (folder / "schema.yaml").write_text(yaml.safe_dump(stated))
    return folder / "schema.yaml"


def quiet(line):
    pass


def test_updates_count_the_records_that_are_learned_from():
    """Of a streamed table, methods that learn from labels see only the rows in memory."""
    rows = Records({"a": VectorColumn(np.zeros((100, 1), np.float32))})
    data = Dataset(rows, rows, probe=rows.choose(np.arange(40)))
    training = Training(epochs=3, batch_size=20)
    updates = {name: _updates(Member(name), training, data) for name in ("comm", "factorcl", "supcon")}
    assert updates == {"comm": 15, "factorcl": 30, "supcon": 6}
    updates = [_updates(Member(name, BASELINES[name]), training, data) for name in ("raw", "supervised")]
    assert updates == [0, 6]


def test_a_table_is_compared_with_every_sort_of_target(schema, tmp_path, jobs_in_this_process):
    log_lines = []
    words = (schema, ["clip", "raw", "single"], 2, tmp_path, SMALL, 1)
    table = compare(*words, log_lines.append, rivals=[])
    assert list(table["methods"]) == ["clip", "raw", "raw:a", "raw:b"]
    assert table["measures"] == {"y": "balanced accuracy", "size": "R2", "tags": "weighted F1"}
    assert table["methods"]["raw:a"]["scores"]["y"]["mean"] > 85
    assert table["methods"]["raw:b"]["scores"]["y"]["mean"] < 75
    assert table["methods"]["raw:a"]["scores"]["size"]["mean"] > 90
    assert len(table["methods"]["clip"]["scores"]["y"]["values"]) == 2
    assert len(table["methods"]["raw"]["scores"]["y"]["values"]) == 1  # it does not depend on the seed
    gap = table["methods"]["raw:b"]["scores"]["y"]["difference"]
    assert gap["to"] in ("raw", "raw:a")
    assert gap["interval"][1] < 0
    assert table["methods"]["clip"]["cost"]["peak_memory_mb"] > 50
    assert table["methods"]["clip"]["updates"] == 3
    assert sum(line.startswith("started") for line in log_lines) == 2 + 3
    assert any("target size" in line and "is an input" in line for line in log_lines)
    assert json.loads((tmp_path / "table.json").read_text()) == table
    again = []
    assert compare(*words, again.append, rivals=[]) == table
    assert len(again) == 5
    assert all(line.startswith("done before") for line in again)


def test_other_targets_leave_what_was_measured(schema, tmp_path, jobs_in_this_process):
    log_lines = []
    for targets in (["y"], ["size", "tags"], ["y"]):
        compare(schema, ["raw"], 1, tmp_path, SMALL, 1, log_lines.append, targets, rivals=[])
    of_jobs = [line.split(":")[0] for line in log_lines if line.startswith(("started", "done"))]
    assert of_jobs == ["started", "done"] * 2 + ["done before"]
    table = compare(schema, ["raw"], 1, tmp_path, SMALL, 1, quiet, rivals=[])
    assert all(cell["mean"] is not None for cell in table["methods"]["raw"]["scores"].values())


def test_trainings_have_the_threads_that_a_schema_states(schema, tmp_path, monkeypatch):
    stated = {**yaml.safe_load(schema.read_text()), "training": {"threads": 3}}
    stated["table"] = str(schema.parent / "table.csv")
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(stated))
    monkeypatch.setattr(workers, "COMMAND", ("/bin/true",))
    compare(tmp_path / "schema.yaml", ["raw"], 1, tmp_path / "out", SMALL, 1, quiet, ["y"], rivals=[])
    (described,) = (tmp_path / "out").rglob("job.json")
    assert json.loads(described.read_text())["threads"] == 3


def test_probing_a_run_leaves_the_results_of_its_comparison(schema, tmp_path, jobs_in_this_process, capsys):
    words = (schema, ["clip"], 1, tmp_path, SMALL, 1, quiet)
    compare(*words, ["y"], rivals=[])
    results = tmp_path / "clip" / "seed0" / "run" / "probes.json"
    before = results.read_text()
    assert main(["probe", str(results.parent)]) == 0
    assert "This was not saved" in capsys.readouterr().err
    assert results.read_text() == before
    table = compare(*words, rivals=[])  # targets that only the probe has scored
    assert table["methods"]["clip"]["scores"]["size"]["mean"] is not None


@pytest.mark.slow
def test_a_method_that_diverges_is_told_and_not_averaged_in(schema, tmp_path, jobs_in_this_process):
    settings = {**SMALL, "training.learning_rate": 1e30, "training.epochs": 3, "training.warmup_epochs": 0}
    settings["training.clip_norm"] = 1.0
    table = compare(schema, ["clip", "supervised", "raw"], 1, tmp_path, settings, 1, quiet, targets=["y"])
    for name in ("clip", "supervised"):
        assert table["methods"][name]["scores"]["y"]["mean"] is None
        (reason,) = table["methods"][name]["errors"].values()
        assert reason.startswith("diverged: ")
    assert table["methods"]["raw"]["scores"]["y"]["mean"] > 85


def test_what_cannot_take_the_data_is_refused_before_anything_is_trained(schema, tmp_path):
    with pytest.raises(ConfigurationError, match="3 problems") as raised:
        compare(schema, ["clap", "supcon", "raw:c"], 1, tmp_path / "new", SMALL, 1, quiet, targets=["size"])
    for sentence in ("did you mean 'clip'", "supcon: ", "did you mean 'raw:"):
        assert sentence in str(raised.value)
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigurationError, match="comm: .*layer"):
        compare(schema, ["comm"], 1, tmp_path / "new", {**SMALL, "model.fusion.layers": 0}, 1, quiet)


def test_two_comparisons_in_one_folder_are_refused(schema, tmp_path, jobs_in_this_process):
    with closing(hold(tmp_path, "comparing")), pytest.raises(RunError, match="is comparing in"):
        compare(schema, ["raw"], 1, tmp_path, SMALL, 1, quiet)
    assert compare(schema, ["raw"], 1, tmp_path, SMALL, 1, quiet)["methods"]["raw"]


def test_a_target_that_cannot_be_scored_is_refused_before_anything_is_trained(schema, tmp_path):
    """Otherwise every training would fail at its end, and the other targets would be lost too."""
    lines = (schema.parent / "table.csv").read_text().splitlines()
    same = [
        f"{line},{'one' if line.endswith('train') or number == 61 else 'other'}"
        for number, line in enumerate(lines)
    ]
    (tmp_path / "table.csv").write_text("\n".join([f"{lines[0]},same", *same[1:]]) + "\n")
    stated = yaml.safe_load(schema.read_text())
    (tmp_path / "same.yaml").write_text(
        yaml.safe_dump({**stated, "targets": {**stated["targets"], "same": "class"}})
    )
    for targets in (None, ["same", "y"]):
        with pytest.raises(DataError, match="target 'same': .*Classes in the training records: one"):
            compare(tmp_path / "same.yaml", ["raw"], 1, tmp_path / "new", SMALL, 1, quiet, targets)
    assert not (tmp_path / "new").exists()


def test_what_would_be_passed_over_is_refused(schema, tmp_path):
    with pytest.raises(ConfigurationError, match="4 problems") as raised:
        compare(schema, [], 1, tmp_path / "new", {"seed": 7, "method": "clip"}, -1, quiet)
    for pattern in (
        "at least one method",
        "jobs is -1",
        "seed is set to 7.* seeds=",
        "method is set to clip.* methods=",
    ):
        assert re.search(pattern, str(raised.value))


def test_a_batch_larger_than_the_data_is_refused_for_what_is_trained(schema, tmp_path, jobs_in_this_process):
    large = {**SMALL, "training.batch_size": 64}
    with pytest.raises(ConfigurationError, match="clip: training.batch_size is 64, but .* only 60"):
        compare(schema, ["clip", "raw"], 1, tmp_path, large, 1, quiet, targets=["y"])
    assert compare(schema, ["raw"], 1, tmp_path, large, 1, quiet, targets=["y"])["methods"]["raw"]


def test_whole_numbers_are_no_classes_to_learn_from(schema):
    source = ComparisonSource(str(schema), overrides=SMALL)
    experiment, data = source.read()
    data.fit.targets["size"][:] = data.fit.targets["size"].round()
    with pytest.raises(ConfigurationError, match="supcon: learns from classes.* 'size' is number"):
        members_of(["supcon"], source, experiment, data, {name: Score([name]) for name in ("y", "size")})


@pytest.mark.parametrize("changed", ["settings", "records"])
def test_a_comparison_does_not_go_on_with_what_changed_in_its_files(
    changed, schema, tmp_path, jobs_in_this_process
):
    for name in ("table.csv", "schema.yaml"):
        shutil.copy(schema.parent / name, tmp_path / name)
    words = (tmp_path / "schema.yaml", ["raw"], 1, tmp_path / "out", SMALL, 1, quiet, ["y"])
    compare(*words)
    if changed == "settings":
        stated = yaml.safe_load((tmp_path / "schema.yaml").read_text())
        (tmp_path / "schema.yaml").write_text(yaml.safe_dump({**stated, "training": {"weight_decay": 0.5}}))
        expected = "experiment.training.weight_decay was 0.0001, now 0.5"
    else:
        lines = (tmp_path / "table.csv").read_text().splitlines()
        (tmp_path / "table.csv").write_text("\n".join([*lines, lines[1]]) + "\n")
        expected = r"table.csv was .* and is .*; records were"
    with pytest.raises(RunError, match=expected):
        compare(*words)


def test_every_arm_of_a_recipe_has_the_options_that_it_states():
    source = ComparisonSource("ablation-loss", overrides={"method.temperature": 0.3})
    base = read_experiment("ablation-loss")
    for variant, stated in (
        ("both-biased", {}),
        ("all-biased", {"subsets": "all"}),
        ("each-biased", {"subsets": "each"}),
    ):
        arm = source.arm(base, variant)
        for name in ("comm", "random", "supervised"):  # baselines use the arm's CoMM network
            spec = {"method": name, "options": {}}
            method = job.experiment_of_job(spec, source, arm, ["image1", "image2"]).method
            assert method == {"name": "comm", "temperature": 0.3, **stated}


@pytest.mark.parametrize("stated", [None, {"name": "comm", "embedding": "fused"}, "infmasking", "clip"])
def test_on_a_table_rivals_embed_as_wide_as_comm(stated, schema, tmp_path):
    for name in ("table.csv", "schema.yaml"):
        shutil.copy(schema.parent / name, tmp_path / name)
    if stated is not None:
        settings = {**yaml.safe_load(schema.read_text()), "method": stated}
        (tmp_path / "schema.yaml").write_text(yaml.safe_dump(settings))
    source = ComparisonSource(str(tmp_path / "schema.yaml"), overrides=SMALL)
    experiment, data = source.read()
    widths = {}
    for name in ("comm", "infmasking", "comm-sup"):
        options = source.method_options(name, experiment)
        if stated is None:  # they share the temperature and head that suit features
            assert options == {**experiment.method, "name": name}
            assert options["temperature"] == 0.3
        features = learned_features(experiment, data)
        method = build_method(with_method(experiment, options), data.train.specs, features=features).eval()
        widths[name] = method.embed(data.train.view(slice(0, 2))).shape[1]
    fused_alone = isinstance(stated, dict)
    assert widths == dict.fromkeys(widths, 16 if fused_alone else 3 * 16)


def test_all_leaves_out_what_cannot_take_the_data(schema):
    source = ComparisonSource(str(schema), overrides=SMALL)
    experiment, data = source.read()
    members, refused = members_of(["all"], source, experiment, data, {"size": Score(["size"])})
    names = {member.name for member in members}
    assert {"comm", "clip", "raw", "raw:a", "pca", "cca", "random", "supervised"} <= names
    assert "supcon" in refused


def test_what_learns_from_labels_is_trained_for_each_target(schema, tmp_path):
    source = ComparisonSource(str(schema), overrides=SMALL)
    experiment, data = source.read()
    scores = {name: Score([name]) for name in ("y", "size")}
    members, _ = members_of(["comm", "supervised", "pca"], source, experiment, data, scores)
    jobs = plan(members, scores, [0, 1], tmp_path)
    counts = {name: sum(job.method == name for job in jobs) for name in ("comm", "supervised", "pca")}
    assert counts == {"comm": 2, "supervised": 4, "pca": 1}
    assert len({job.folder for job in jobs}) == len(jobs)
    assert len({str(job) for job in jobs}) == len(jobs)  # reasons of failures are listed by it


def test_any_name_of_a_target_makes_a_folder_of_its_own(tmp_path):
    scores = {name: Score([name]) for name in ("sodium mmol/L", "potassium mmol/L", "为" * 90)}
    jobs = plan([Member("supervised", BASELINES["supervised"])], scores, [0], tmp_path)
    for wanted in jobs:
        wanted.folder.mkdir(parents=True)
    assert {wanted.folder.parent for wanted in jobs} == {tmp_path / "supervised" / "seed0"}
    assert len({wanted.folder.name for wanted in jobs}) == 3  # the table lists probes by it


def test_a_process_that_is_killed_is_told(tmp_path, monkeypatch):
    wanted = Job("comm", 0, "", ("y",), tmp_path / "job")

    monkeypatch.setattr(workers, "COMMAND", ("/bin/sh", "-c", "echo working; kill -9 $$"))
    (reason,) = workers.work_on(ComparisonSource("r"), [wanted], 1, quiet).values()
    assert "SIGKILL" in reason
    assert "memory" in reason


def test_a_job_that_was_begun_goes_on_with_the_threads_that_it_had(tmp_path, monkeypatch):
    jobs, started = [Job("comm", seed, "", ("y",), tmp_path / str(seed)) for seed in range(4)], []
    monkeypatch.setattr(workers, "cores", lambda: 4)
    monkeypatch.setattr(workers, "COMMAND", ("/bin/true",))
    start = workers.start_process
    monkeypatch.setattr(workers, "start_process", lambda *w: started.append(w[2]) or start(*w))
    workers.work_on(ComparisonSource("r"), jobs, 4, quiet)
    workers.work_on(ComparisonSource("r"), jobs[:1], 4, quiet)  # as if the others were done
    assert started == [1] * 5


def difference(own, other):
    """Return how a method differs from a baseline, from the draws of each by seed."""
    draws, rows = {"own": own, "raw": other}, {}
    for name, by_seed in draws.items():
        values = {str(seed): float(drawn.mean()) for seed, drawn in by_seed.items()}
        score = {"mean": np.mean([*values.values()]), "values": values}
        rows[name] = {"role": "baseline" if name == "raw" else "method", "scores": {"y": score}}
    table._compare("y", rows, draws, 1.0)
    return rows["own"]["scores"]["y"]["difference"]


def test_a_paired_interval_is_narrow_where_two_err_on_the_same_records():
    generator = np.random.default_rng(0)
    truth = generator.integers(2, size=500)
    hard = generator.random(500) < 0.3
    base = np.where(hard, 1 - truth, truth)
    better = base.copy()
    better[np.flatnonzero(hard)[:25]] = truth[np.flatnonzero(hard)[:25]]
    one, other = (
        {0: values_of_draws({"y": Prediction(truth, predicted)}, {"y": "class"})}
        for predicted in (better, base)
    )
    low, high = difference(one, other)["interval"]
    assert 0 < low < 5 < high
    assert high - low < np.ptp(np.quantile(one[0], [0.025, 0.975]))


def test_seeds_widen_the_interval():
    spread = {seed: np.full(1000, 50.0 + 5 * seed) for seed in range(3)}
    one = {0: np.full(1000, 40.0)}
    low, high = difference(spread, one)["interval"]
    assert low < 12
    assert high > 18
    back = difference(one, spread)["interval"]
    assert back == pytest.approx([-high, -low])  # a single seed is paired with all the others, on either side


def test_the_interval_is_that_of_the_difference_that_is_told():
    """Mean and interval use the seeds that both have; one that diverged for either is left out."""
    own = {seed: np.full(1000, score) for seed, score in enumerate((50.0, 50.0, 80.0))}
    raw = {seed: np.full(1000, 40.0) for seed in range(2)}
    assert difference(own, raw) == {"to": "raw", "mean": 10.0, "interval": [10.0, 10.0]}


def fabricated(methods=12):
    roles = ["method", "baseline", "floor", "ceiling"]
    rows = {}
    for number in range(methods):
        mean = None if number == 3 else 8.0 * number
        cell = {"mean": mean, "std": 0.4 * number, "values": {}}
        rows[f"{'x' * (number + 3)}"] = {
            "role": roles[number % 4],
            "scores": {"R": cell, "U": cell},
            "published": {"R": 99.9} if number % 2 else {},
            "errors": {},
        }
    return {
        "recipe": "many",
        "scores": {"R": ["shared"], "U": ["unique1", "unique2"]},
        "measures": {"R": "balanced accuracy", "U": "R2"},
        "chance": {"R": 10.0, "U": None},
        "methods": rows,
    }


def test_a_score_far_below_zero_leaves_room_for_the_other_bars(tmp_path, monkeypatch):
    figures, table_of_methods = [], fabricated(3)
    monkeypatch.setattr(chart.Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    table_of_methods["methods"]["xxx"]["scores"]["U"] = {"mean": -40_000.0, "std": None, "values": {}}
    chart.comparison_chart(table_of_methods, tmp_path / "chart.png")
    assert figures[0].axes[1].get_xlim() == (-100, 103)
    assert any(text.get_text() == "-40000.0" for text in figures[0].axes[1].texts)


@pytest.mark.parametrize("methods", [4, 15])
def test_no_words_of_the_chart_overlap(methods, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(chart.Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    chart.comparison_chart(fabricated(methods), tmp_path / "chart.png")
    (figure,) = figures
    FigureCanvasAgg(figure).draw()
    boxes = []
    for axes in figure.axes:
        texts = [*axes.texts, axes.title, axes.xaxis.label, *axes.get_xticklabels()]
        texts += axes.get_yticklabels() if axes is figure.axes[0] else []
        boxes += [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    for legend in figure.legends:
        boxes += [(text.get_text(), text.get_window_extent()) for text in legend.get_texts()]
    whole = figure.bbox
    for number, (text, box) in enumerate(boxes):
        assert whole.x0 <= box.x0 <= box.x1 <= whole.x1, text
        for other, beside in boxes[:number]:
            assert not box.overlaps(beside), (text, other)


def test_the_draws_of_a_comparison_take_whole_groups():
    groups = np.repeat(np.arange(20), 15)
    truth = groups % 2
    predicted = np.repeat(np.random.default_rng(0).integers(0, 2, 20), 15)  # right or wrong for a whole group
    alone, together = (
        values_of_draws({"y": Prediction(truth, predicted, each)}, {"y": "class"}).std()
        for each in (None, groups)
    )
    assert together > 3 * alone  # about sqrt(15) times
