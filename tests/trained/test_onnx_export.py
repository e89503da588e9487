"""Exported graphs give the same results as torch, for every kind, batch size and length."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import commlearn as cl
from commlearn.batch import Modality, Spec
from commlearn.config.configuration import experiment_from
from commlearn.errors import ConfigurationError, RunError
from commlearn.methods import METHODS
from commlearn.models.build import build_encoders
from commlearn.models.fusion import ClassAttentionFusion, Fusion
from commlearn.trained.model import Trained
from commlearn.trained.onnx_export import Embedding, export_onnx, export_program, inputs_of

SPECS = {
    "photo": Spec("image", (3, 32, 32)),
    "note": Spec("text", (50,)),
    "labs": Spec("tabular", (2, 4)),
    "ecg": Spec("series", (2,)),
    "emb": Spec("vector", (6,)),
}


def model(names, method="comm", **options):
    torch.manual_seed(0)
    specs = {name: SPECS[name] for name in names}
    built = METHODS[method].build(build_encoders(specs, 16, {}), 16, **options).eval()
    experiment = experiment_from({"name": "small", "data": "trifeature", "method": method})
    return Trained(experiment=experiment, method=built, specs=specs)


def inputs(names, batch, steps, seed=0):
    """Return random tensors, with padding at the end, a missing number and an unseen category."""
    draw = torch.Generator().manual_seed(seed)
    tensors = [each.example for each in inputs_of(tuple(names), SPECS, batch, steps)]
    for place, tensor in enumerate(tensors):
        if tensor.dtype == torch.uint8:
            tensors[place] = torch.randint(0, 256, tensor.shape, generator=draw, dtype=torch.uint8)
        elif tensor.dtype == torch.long:
            tensors[place] = torch.randint(1, 50, tensor.shape, generator=draw)
        elif tensor.dtype == torch.float32:
            tensors[place] = torch.randn(tensor.shape, generator=draw)
    if "labs" in names:
        labs = tensors[[*names_of(names)].index("labs")]
        labs[:, 2] = torch.arange(batch) % 4
        labs[0, 0] = float("nan")
    return tensors


def names_of(names):
    return [each.name for each in inputs_of(tuple(names), SPECS)]


@pytest.mark.parametrize("names", [["emb"], ["photo", "labs"], ["note", "ecg"]], ids="+".join)
def test_a_torch_program_equals_the_method(names):
    trained = model(names)
    program = export_program(trained, names).module()
    for batch, steps in ((2, 9), (5, 33)):
        given = inputs(names, batch, steps)
        want = Embedding(trained.method, tuple(names), SPECS)(*given)
        assert torch.allclose(program(*given), want, atol=1e-5)


def test_the_wrapper_is_the_methods_own_embedding():
    trained = model(["note", "emb"])
    values, padding, vectors = inputs(["note", "emb"], 4, 12)
    view = {"note": Modality(values, padding), "emb": Modality(vectors)}
    want = trained.method.embed(view)
    assert torch.equal(Embedding(trained.method, ("note", "emb"), SPECS)(values, padding, vectors), want)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="one layer"),
        pytest.param({"fusion": Fusion(16, layers=2)}, id="two layers", marks=pytest.mark.slow),
        pytest.param(
            {"fusion": ClassAttentionFusion(16, layers=2)}, id="class attention", marks=pytest.mark.slow
        ),
        pytest.param({"embedding": "fused+tokens"}, id="with tokens", marks=pytest.mark.slow),
        pytest.param({"embedding": "fused+textures"}, id="with textures"),
    ],
)
def test_onnx_equals_torch(options, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="SKIPPED LOUDLY: pip install 'commlearn[onnx]'")
    names, some = ["photo", "note", "labs", "ecg", "emb"], ["note", "emb"]
    if options.get("embedding") == "fused+textures":  # pictures only
        names = some = ["photo"]
    trained = model(names, **options)
    files = cl.export_onnx(trained, tmp_path, [some if options else names])
    names_by_file = json.loads((tmp_path / "inputs.json").read_text())
    for file in files:
        subset = file.stem.split("+")
        session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        assert (
            [one.name for one in session.get_inputs()] == names_of(subset) == list(names_by_file[file.name])
        )
        for batch, steps in ((1, 40), (4, 7)):
            given = inputs(subset, batch, steps)
            want = Embedding(trained.method, tuple(subset), SPECS)(*given).detach().numpy()
            named = {name: tensor.numpy() for name, tensor in zip(names_of(subset), given, strict=True)}
            assert np.abs(session.run(None, named)[0] - want).max() < 1e-4


def test_without_onnx_the_error_names_the_extra(monkeypatch, tmp_path):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"commlearn\[onnx\]"):
        cl.export_onnx(model(["emb"]), tmp_path)


def test_the_order_of_names_does_not_count_and_what_is_there_stays_described(tmp_path):
    pytest.importorskip("onnxruntime", reason="SKIPPED LOUDLY: pip install 'commlearn[onnx]'")
    carried = model(["labs", "emb"])
    cl.export_onnx(carried, tmp_path, [["emb"]])
    (written,) = cl.export_onnx(carried, tmp_path, [["emb", "labs"]])
    names_by_file = json.loads((tmp_path / "inputs.json").read_text())
    assert sorted(names_by_file) == ["emb.onnx", "labs+emb.onnx"]
    assert list(names_by_file[written.name]) == ["labs", "emb"]


def test_an_embedder_makes_a_program_and_a_file_is_no_folder(tmp_path):
    pytest.importorskip("onnxruntime", reason="SKIPPED LOUDLY: pip install 'commlearn[onnx]'")
    carried = SimpleNamespace(trained=model(["emb"]))  # as in an Embedder
    assert export_program(carried, ["emb"]).module()(torch.zeros(2, 6)).shape[0] == 2
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match=r"Cannot make the folder .*file: File exists"):
        cl.export_onnx(carried, tmp_path / "file", [["emb"]])


def test_graphs_replace_no_file_of_somebody_else(tmp_path):
    pytest.importorskip("onnxruntime", reason="SKIPPED LOUDLY: pip install 'commlearn[onnx]'")
    (tmp_path / "emb.onnx").write_text("mine")
    with pytest.raises(RunError, match=r"would replace: emb\.onnx\. Move it away, or give another folder"):
        cl.export_onnx(model(["emb"]), tmp_path, [["emb"]])
    assert (tmp_path / "emb.onnx").read_text() == "mine"


def test_an_export_keeps_no_graphs_of_another_model(tmp_path):
    pytest.importorskip("onnxscript")
    first, other = model(["emb", "labs"]), model(["emb", "labs"])
    with torch.no_grad():
        next(other.method.parameters()).add_(1)
    export_onnx(first, cl.export(first, tmp_path) / "onnx", [["emb"]])
    (tmp_path / "onnx" / "mine.txt").write_text("a note")
    cl.export(first, tmp_path)
    assert (tmp_path / "onnx" / "emb.onnx").exists()
    cl.export(other, tmp_path)
    assert sorted(path.name for path in (tmp_path / "onnx").iterdir()) == ["files.json", "mine.txt"]
    export_onnx(other, tmp_path / "onnx", [["labs"]])
    assert list(json.loads((tmp_path / "onnx" / "inputs.json").read_text())) == ["labs.onnx"]


def test_a_graph_is_served_without_commlearn(tmp_path):
    pytest.importorskip("onnxruntime", reason="SKIPPED LOUDLY: pip install 'commlearn[onnx]'")
    cl.export_onnx(model(["emb"]), tmp_path, [["emb"]])
    code = (
        "import sys, numpy as np, onnxruntime\n"
        f"graph = onnxruntime.InferenceSession({str(tmp_path / 'emb.onnx')!r})\n"
        "print(graph.run(None, {'emb': np.zeros((7, 6), np.float32)})[0].shape)\n"
        "assert not {'torch', 'commlearn'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "(7, 16)", done.stderr


def test_texts_read_by_their_letters_are_refused_before_anything_is_written(tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    table = {"numbers": rows, "note": [f"word{row % 7} of row {row}" for row in range(60)]}
    schema = cl.Schema({"numbers": cl.Vector("numbers"), "note": cl.Text("note")})
    settings = {"model.networks": False, "model.width": 16, "model.fusion.heads": 2}
    model = cl.Embedder(schema, epochs=1, settings=settings).fit(table)
    with pytest.raises(
        ConfigurationError, match=r"letters of texts.*export other modalities \(subsets numbers\)"
    ):
        export_onnx(model, tmp_path / "graphs")
    assert not (tmp_path / "graphs").exists()
    assert [path.name for path in export_onnx(model, tmp_path / "graphs", [["numbers"]])] == ["numbers.onnx"]
