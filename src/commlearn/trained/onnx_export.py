"""A trained model for machines without commlearn: one ONNX graph a subset of modalities, or a torch program.

A graph maps prepared inputs to embeddings. Its batch size and the length of its sequences are free; what
prepares the inputs (sizes, means, words) is in the artifact's `preprocessing.json`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from commlearn.batch import Modality, Spec, Subset, blank_values, single_and_all, subset_name
from commlearn.errors import ConfigurationError
from commlearn.methods.base import Method
from commlearn.models.encoders.tabular import FeatureEncoder
from commlearn.storage.checkpoint import write_atomically
from commlearn.storage.file_list import FileList
from commlearn.storage.plain_json import values_of_file
from commlearn.trained.model import Trained

SEQUENCES = ("text", "series", "audio")  # kinds whose records have a length
INPUTS = "inputs.json"  # what each graph takes
OUTPUT = "embedding_of_records"  # not "embedding", which is what a text encoder's own table is called
BATCH, STEPS = 3, 17  # of the inputs that are traced; neither is written into the graph


class Embedding(nn.Module):
    """A method's embedding of one subset, as a function of plain tensors.

    Each modality is its values and, for a sequence, which steps are padding (True = ignore).
    """

    def __init__(self, method: Method, subset: Subset, specs: Mapping[str, Spec]) -> None:
        super().__init__()
        self.method = method
        self.subset = subset
        self.sequences = [specs[name].kind in SEQUENCES for name in subset]

    def forward(self, *tensors: Tensor) -> Tensor:
        given = iter(tensors)
        view = {
            name: Modality(next(given), next(given) if sequence else None)
            for name, sequence in zip(self.subset, self.sequences, strict=True)
        }
        return self.method.embed(view, self.subset)


def export_onnx(
    trained: Trained, folder: str | Path, subsets: Sequence[Sequence[str]] | None = None
) -> list[Path]:
    """Write an ONNX file for each subset of modalities, and what their inputs are as `inputs.json`.

    Args:
        trained: a run or an artifact.
        folder: is made.
        subsets: which; each modality alone and all of them if not given.

    Example:
        >>> import numpy as np
        >>> import commlearn as cl
        >>> rows = np.random.default_rng(0).normal(size=(90, 4)).astype("float32")
        >>> table = {"left": rows[:, :2], "right": rows[:, 2:], "sign": rows[:, 0] > 0}
        >>> halves = {"left": cl.Vector("left"), "right": cl.Vector("right")}
        >>> schema = cl.Schema(halves, targets={"sign": "class"})
        >>> model = cl.Embedder(schema, epochs=1).fit({name: cells[:60] for name, cells in table.items()})
        >>> sorted(path.name for path in export_onnx(model.trained, "graphs", [["left"]]))
        ['left.onnx']
    """
    _need_onnx()
    names = tuple(trained.specs)
    wanted = [_in_order(trained, subset) for subset in subsets or single_and_all(names)]
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    files = [INPUTS, *(f"{subset_name(subset)}.onnx" for subset in wanted)]
    listed = FileList(path, kind="set of ONNX graphs")
    listed.claim(*files)
    listed.add(*files)
    described = _described(path)
    written = []
    for subset in wanted:
        program = export_program(trained, subset)
        inputs = input_names(subset, trained.specs)
        file = path / f"{subset_name(subset)}.onnx"
        write_atomically(file, _to_onnx(program, inputs))
        described[file.name] = {
            name: {"type": _type(tensor), "shape": _free(name, tensor, trained.specs)}
            for name, tensor in zip(inputs, example_inputs(subset, trained.specs), strict=True)
        }
        written.append(file)
    write_atomically(path / INPUTS, (json.dumps(described, indent=1) + "\n").encode())
    return written


def export_program(trained: Trained, subset: Sequence[str]) -> ExportedProgram:
    """The embedding of a subset as a `torch.export` program: it runs where torch is and commlearn is not.

    Example:
        >>> import numpy as np
        >>> import commlearn as cl
        >>> rows = np.random.default_rng(0).normal(size=(90, 4)).astype("float32")
        >>> table = {"left": rows[:, :2], "right": rows[:, 2:], "sign": rows[:, 0] > 0}
        >>> halves = {"left": cl.Vector("left"), "right": cl.Vector("right")}
        >>> schema = cl.Schema(halves, targets={"sign": "class"})
        >>> model = cl.Embedder(schema, epochs=1).fit({name: cells[:60] for name, cells in table.items()})
        >>> program = export_program(model.trained, ["left"])
        >>> program.module()(torch.from_numpy(table["left"])).shape[0]
        90
    """
    chosen = _in_order(trained, subset)
    _refuse_networks(trained, chosen)
    device = next(trained.method.parameters()).device
    module = Embedding(trained.method, chosen, trained.specs).eval()
    inputs = tuple(tensor.to(device) for tensor in example_inputs(chosen, trained.specs))
    with _quiet():
        shapes = {"tensors": _dynamic(chosen, trained.specs)}
        program = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
    for part in program.graph_module.modules():  # lines of code on this machine are of no use elsewhere
        for node in part.graph.nodes if isinstance(part, GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


def _refuse_networks(trained: Trained, subset: Subset) -> None:
    """A graph would have to hold the weights of published networks, and their tokenizers."""
    for name in subset:
        encoder = trained.method.encoders[name]
        raw = encoder.features.raw if isinstance(encoder, FeatureEncoder) else None
        if raw is not None and raw.network is not None and raw.uses_network:
            raise ConfigurationError(
                f"The encoder of {name} reads outputs of {raw.network.name}, which a graph does not hold. "
                "Train with model.networks=false to export graphs."
            )


def _in_order(trained: Trained, subset: Sequence[str]) -> Subset:
    """The names as the method takes them, whatever order they were given in."""
    return trained.method.subset(tuple(subset), dict.fromkeys(trained.specs))  # type: ignore[arg-type]


def _described(folder: Path) -> dict[str, Any]:
    """What is recorded of existing graphs."""
    path = folder / INPUTS
    inputs_of_file = values_of_file(path) if path.exists() else {}
    return {name: inputs for name, inputs in inputs_of_file.items() if (folder / name).exists()}


def input_names(subset: Subset, specs: Mapping[str, Spec]) -> list[str]:
    """The graph's inputs: a modality's name, and `NAME_padding` for sequences."""
    names = []
    for name in subset:
        names += [name, f"{name}_padding"] if specs[name].kind in SEQUENCES else [name]
    return names


def example_inputs(
    subset: Subset, specs: Mapping[str, Spec], batch: int = BATCH, steps: int = STEPS
) -> list[Tensor]:
    """Tensors such as the graph takes."""
    tensors = []
    for name in subset:
        tensors.append(blank_values(specs[name], batch, steps))
        if specs[name].kind in SEQUENCES:
            padding = torch.zeros(batch, steps, dtype=torch.bool)
            padding[0, steps // 2 :] = True
            tensors.append(padding)
    return tensors


def _dynamic(subset: Subset, specs: Mapping[str, Spec]) -> tuple[dict[int, Any], ...]:
    shapes: list[dict[int, Any]] = []
    for name in subset:
        if specs[name].kind in SEQUENCES:
            length = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
            shapes += [length, dict(length)]
        else:
            shapes.append({0: Dim.DYNAMIC})
    return tuple(shapes)


def _to_onnx(program: ExportedProgram, inputs: Sequence[str]) -> bytes:
    with _quiet():
        made = torch.onnx.export(program, (), input_names=list(inputs), output_names=[OUTPUT], dynamo=True)
    if made is None:
        raise ConfigurationError("The installed torch wrote no ONNX graph. Update torch and onnxscript.")
    import onnx

    model = made.model_proto  # written anew each time that it is asked for
    _without_places(model)
    content = io.BytesIO()
    onnx.save(model, content)
    return content.getvalue()


def _without_places(model: Any) -> None:
    """Take away what the exporter notes of each node: lines of code, by their files on this machine."""
    waiting = [model, model.graph, *model.functions]
    while waiting:
        part = waiting.pop()
        part.doc_string = ""
        del part.metadata_props[:]
        for name in ("node", "value_info", "input", "output", "initializer"):
            waiting += [inner for inner in getattr(part, name, ()) if hasattr(inner, "doc_string")]
        waiting += [attribute.g for attribute in getattr(part, "attribute", ()) if _is_graph(attribute)]


def _is_graph(attribute: Any) -> bool:
    """Whether an attribute of a node is a graph, such as the branch of a condition."""
    return hasattr(attribute, "g") and bool(attribute.HasField("g"))


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _free(name: str, tensor: Tensor, specs: Mapping[str, Spec]) -> list[int | str]:
    base = name if name in specs else name.removesuffix("_padding")
    free = 2 if specs[base].kind in SEQUENCES else 1
    return [*("batch", "length")[:free], *tensor.shape[free:]]


def _need_onnx() -> None:
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"Export to ONNX needs {' and '.join(missing)}. Install them: pip install 'commlearn[onnx]'"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters' own progress and deprecations are no news to our user."""
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
