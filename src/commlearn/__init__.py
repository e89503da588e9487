"""Learn one representation from several modalities without labels, and measure what they know together."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Audio": "commlearn.kinds",
    "CLIP": "commlearn.methods",
    "CMC": "commlearn.methods",
    "COrAL": "commlearn.methods",
    "Callback": "commlearn.training.callbacks",
    "CoMM": "commlearn.methods",
    "CoMMLoss": "commlearn.methods",
    "CrossSelf": "commlearn.methods",
    "Embedder": "commlearn.estimator",
    "FactorCL": "commlearn.methods",
    "Image": "commlearn.kinds",
    "HRIL": "commlearn.methods",
    "InfMasking": "commlearn.methods",
    "METHODS": "commlearn.methods",
    "READERS": "commlearn.datasets",
    "Schema": "commlearn.tables.schema",
    "Series": "commlearn.kinds",
    "SimCLR": "commlearn.methods",
    "SupCon": "commlearn.methods",
    "Tabular": "commlearn.kinds",
    "Text": "commlearn.kinds",
    "Vector": "commlearn.kinds",
    "audit_augmentations": "commlearn.probes.audit",
    "check_reader": "commlearn.datasets",
    "compare": "commlearn.comparison.compare",
    "embed": "commlearn.trained.embed",
    "export": "commlearn.trained.artifact",
    "export_onnx": "commlearn.trained.onnx_export",
    "export_program": "commlearn.trained.onnx_export",
    "finetune": "commlearn.training.finetune",
    "interactions": "commlearn.information",
    "load": "commlearn.trained.artifact",
    "probe": "commlearn.probes",
    "probe_ladder": "commlearn.probes.ladder",
    "project": "commlearn.plot.projection",
    "push_to_hub": "commlearn.trained.artifact",
    "read_data": "commlearn.config.build",
    "read_experiment": "commlearn.config.configuration",
    "report": "commlearn.reports",
    "similar": "commlearn.search",
    "train": "commlearn.training.loop",
    "tune": "commlearn.comparison.tune",
}

__all__ = [*_PUBLIC, "plot"]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that `import commlearn` stays fast."""
    if name == "plot":  # a module: cl.plot.losses(run)
        return importlib.import_module("commlearn.plot")
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'commlearn' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
