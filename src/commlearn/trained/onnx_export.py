"""Export to machines without commlearn: one ONNX graph per subset of modalities, or a torch program.

A graph maps prepared inputs to embeddings. Its batch size and sequence lengths are free. What is needed to
prepare the inputs (sizes, means, words) is in the artifact's `preprocessing.json`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from commlearn.batch import Modality, Spec, Subset, blank_values, single_and_all, subset_name
from commlearn.errors import ConfigurationError
from commlearn.methods.base import Method
from commlearn.models.encoders.tabular import FeatureEncoder
from commlearn.models.features.raw import Words
from commlearn.storage.checkpoint import write_atomically
from commlearn.storage.file_list import FileList
from commlearn.storage.plain_json import json_text, values_of_file
from commlearn.trained.artifact import GRAPHS, trained_model
from commlearn.trained.model import Trained
from commlearn.trained.run_folder import make_folder

SEQUENCES = ("text", "series", "audio")  # kinds whose records vary in length
INPUTS = "inputs.json"  # inputs of each graph
OUTPUT = "embedding_of_records"  # not "embedding", the name of a text encoder's own table
BATCH, STEPS = 3, 17  # sizes of the traced inputs; the graph fixes neither


class Embedding(nn.Module):
    """A method's embedding of one subset, as a function of plain tensors.

    Each modality is passed as its values and, for a sequence, a mask of its padding (True = ignore).
    """

    def __init__(self, method: Method, subset: Subset, specs: Mapping[str, Spec]) -> None:
        super().__init__()
        self.method = method
        self.subset = subset
        self.sequences = [specs[name].kind in SEQUENCES for name in subset]

    def forward(self, *tensors: Tensor) -> Tensor:
        inputs = iter(tensors)
        view = {
            name: Modality(next(inputs), next(inputs) if sequence else None)
            for name, sequence in zip(self.subset, self.sequences, strict=True)
        }
        return self.method.embed(view, self.subset)


def export_onnx(
    trained: Any, folder: str | Path, subsets: Sequence[Sequence[str]] | None = None
) -> list[Path]:
    """Write an ONNX file for each subset of modalities, and a description of their inputs, `inputs.json`.

    Args:
        trained: a run, an artifact or an Embedder, or its folder.
        folder: folder to write to; made if needed.
        subsets: subsets to export; each modality alone and all of them together if not given.

    Example:
        >>> import numpy as np
        >>> import commlearn as cl
        >>> rows = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
        >>> table = {"left": rows[:, :2], "right": rows[:, 2:]}
        >>> model = cl.Embedder(epochs=1).fit(table)
        >>> sorted(path.name for path in export_onnx(model.trained, "graphs", [["left"]]))
        ['left.onnx']
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"Export to ONNX needs {' and '.join(missing)}. Install them: pip install 'commlearn[onnx]'"
        )
    trained = trained_model(trained)
    requested = [_checked(trained, subset) for subset in subsets or single_and_all(tuple(trained.specs))]
    path = Path(folder)
    make_folder(path)
    files = [INPUTS, *(f"{subset_name(subset)}.onnx" for subset in requested)]
    file_list = FileList(path, kind=GRAPHS)
    file_list.claim(*files)
    file_list.add(*files)
    stated = values_of_file(path / INPUTS) if (path / INPUTS).exists() else {}
    descriptions = {name: inputs for name, inputs in stated.items() if (path / name).exists()}
    written = []
    for subset in requested:
        program, inputs = export_program(trained, subset), inputs_of(subset, trained.specs)
        file = path / f"{subset_name(subset)}.onnx"
        write_atomically(file, _to_onnx(program, [entry.name for entry in inputs]))
        descriptions[file.name] = {entry.name: entry.described() for entry in inputs}
        written.append(file)
    write_atomically(path / INPUTS, json_text(descriptions, 1).encode())
    return written


def export_program(trained: Any, subset: Sequence[str]) -> ExportedProgram:
    """Return the embedding of a subset as a `torch.export` program, which runs without commlearn.

    Example:
        >>> import numpy as np
        >>> import commlearn as cl
        >>> rows = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
        >>> table = {"left": rows[:, :2], "right": rows[:, 2:]}
        >>> model = cl.Embedder(epochs=1).fit(table)
        >>> program = export_program(model.trained, ["left"])
        >>> program.module()(torch.from_numpy(table["left"])).shape[0]
        60
    """
    trained = trained_model(trained)
    ordered = _checked(trained, subset)
    device = next(trained.method.parameters()).device
    module = Embedding(trained.method, ordered, trained.specs).eval()
    inputs = inputs_of(ordered, trained.specs)
    tensors = tuple(entry.example.to(device) for entry in inputs)
    dims = tuple(dict.fromkeys(range(len(entry.free)), Dim.DYNAMIC) for entry in inputs)
    with _quiet():
        program = torch.export.export(module, tensors, dynamic_shapes={"tensors": dims}, strict=False)
    for part in program.graph_module.modules():  # stack traces of this machine are of no use elsewhere
        for node in part.graph.nodes if isinstance(part, GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


def _checked(trained: Trained, subset: Sequence[str]) -> Subset:
    """Return the names in the method's order, whatever order they were given in.

    Encoders that read letters of texts or outputs of published networks, which graphs lack, are refused.
    """
    ordered = trained.method.subset(tuple(subset), trained.specs)
    others = [name for name in trained.specs if not _reads_letters(trained, name)]
    for name in ordered:
        encoder = trained.method.encoders[name]
        raw = encoder.features.raw if isinstance(encoder, FeatureEncoder) else None
        if raw is not None and raw.network is not None and raw.uses_network:
            raise ConfigurationError(
                f"The encoder of {name} reads outputs of {raw.network.name}, which a graph does not contain. "
                "Train with model.networks=false to export graphs."
            )
        if _reads_letters(trained, name):
            advice = f"export other modalities (subsets {'+'.join(others)}), or " if others else ""
            raise ConfigurationError(
                f"The encoder of {name} reads the letters of texts, which a graph cannot do: {advice}"
                "train with model.features=learned."
            )
    return ordered


def _reads_letters(trained: Trained, name: str) -> bool:
    encoder = trained.method.encoders[name]
    return isinstance(encoder, FeatureEncoder) and isinstance(encoder.features.raw, Words)


class Input(NamedTuple):
    """One input of a graph."""

    name: str
    example: Tensor
    free: tuple[str, ...]  # names of the first dimensions, whose sizes are free

    def described(self) -> dict[str, Any]:
        shape = [*self.free, *self.example.shape[len(self.free) :]]
        return {"type": str(self.example.dtype).removeprefix("torch."), "shape": shape}


def inputs_of(
    subset: Subset, specs: Mapping[str, Spec], batch: int = BATCH, steps: int = STEPS
) -> list[Input]:
    """Return the graph's inputs: each modality's values and, for sequences, `NAME_padding`."""
    inputs = []
    for name in subset:
        values = blank_values(specs[name], batch, steps)
        if specs[name].kind in SEQUENCES:
            padding = torch.zeros(batch, steps, dtype=torch.bool)
            padding[0, steps // 2 :] = True
            dims = ("batch", "length")
            inputs += [Input(name, values, dims), Input(f"{name}_padding", padding, dims)]
        else:
            inputs.append(Input(name, values, ("batch",)))
    return inputs


def _to_onnx(program: ExportedProgram, inputs: Sequence[str]) -> bytes:
    with _quiet():
        result = torch.onnx.export(program, (), input_names=list(inputs), output_names=[OUTPUT], dynamo=True)
    if result is None:
        raise ConfigurationError("The installed torch wrote no ONNX graph. Update torch and onnxscript.")
    import onnx

    model = result.model_proto  # a new object at each access
    _remove_places(model)
    content = io.BytesIO()
    onnx.save(model, content)
    return content.getvalue()


def _remove_places(model: Any) -> None:
    """Remove the exporter's notes on each node, which name files and lines of code on this machine."""
    pending = [model, model.graph, *model.functions]
    while pending:
        part = pending.pop()
        part.doc_string = ""
        del part.metadata_props[:]
        for name in ("node", "value_info", "input", "output", "initializer"):
            pending += [inner for inner in getattr(part, name, ()) if hasattr(inner, "doc_string")]
        for attribute in getattr(part, "attribute", ()):
            if hasattr(attribute, "g") and attribute.HasField("g"):  # such as the branch of a condition
                pending.append(attribute.g)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporters' own progress output and warnings, which do not concern the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
