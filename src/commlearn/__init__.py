"""One representation from several modalities, learned without labels, and what they know together."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Audio": "commlearn.kinds",
    "CLIP": "commlearn.methods",
    "CMC": "commlearn.methods",
    "CoMM": "commlearn.methods",
    "CrossSelf": "commlearn.methods",
    "Embedder": "commlearn.estimator",
    "FactorCL": "commlearn.methods",
    "Image": "commlearn.kinds",
    "InfMasking": "commlearn.methods",
    "METHODS": "commlearn.methods",
    "READERS": "commlearn.data",
    "Schema": "commlearn.kinds.schema",
    "Series": "commlearn.kinds",
    "SimCLR": "commlearn.methods",
    "SupCon": "commlearn.methods",
    "Tabular": "commlearn.kinds",
    "Text": "commlearn.kinds",
    "Vector": "commlearn.kinds",
    "audit_augmentations": "commlearn.evaluation.audit",
    "check_reader": "commlearn.data",
    "compare": "commlearn.evaluation.compare",
    "embed": "commlearn.evaluation.embed",
    "export": "commlearn.training.artifact",
    "export_onnx": "commlearn.training.onnx_export",
    "export_program": "commlearn.training.onnx_export",
    "finetune": "commlearn.training.finetune",
    "interactions": "commlearn.evaluation.interactions",
    "load": "commlearn.training.artifact",
    "probe": "commlearn.evaluation.probes",
    "probe_ladder": "commlearn.evaluation.ladder",
    "project": "commlearn.evaluation.projection",
    "read_data": "commlearn.training.build",
    "read_experiment": "commlearn.training.configuration",
    "report": "commlearn.evaluation.report",
    "train": "commlearn.training.loop",
}

__all__ = [*_PUBLIC, "plot"]


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first asked for: `import commlearn` stays quick."""
    if name == "plot":  # a module: cl.plot.losses(run)
        return importlib.import_module("commlearn.plot")
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'commlearn' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
