"""Learn one representation from several modalities without labels, and measure what they know together."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_NAMES = {  # public names, by the module that defines them
    "comparison.compare": "compare",
    "comparison.tune": "tune",
    "config.build": "read_data",
    "config.configuration": "read_experiment",
    "datasets": "READERS check_reader",
    "estimator": "Embedder",
    "information": "interactions",
    "kinds": "Audio Image Series Tabular Text Vector",
    "methods": "CLIP CMC COrAL CoMM CoMMLoss CrossSelf FactorCL HRIL InfMasking METHODS SimCLR SupCon",
    "plot.projection": "project",
    "probes.audit": "audit_augmentations",
    "probes.ladder": "probe_ladder",
    "probes.probe": "probe",
    "reports": "report",
    "search": "similar",
    "tables.schema": "Schema",
    "trained.artifact": "export load push_to_hub",
    "trained.embed": "embed",
    "trained.onnx_export": "export_onnx export_program",
    "training.callbacks": "Callback",
    "training.finetune": "finetune",
    "training.train": "train",
}
_PUBLIC = {name: f"commlearn.{module}" for module, names in _NAMES.items() for name in names.split()}

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
