"""The configuration of a run: frozen dataclasses, filled from YAML and `--section.key value` overrides.

All problems of a recipe are collected and reported at once. Parts (a reader, a method, an encoder,
an augmentation) are chosen by name from the library's registries, never by import path, so that
reading a recipe runs no code. `setting_like` finds a setting by the last part of its name: `epochs` is
`training.epochs`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from commlearn.augmentations import AUGMENTATIONS
from commlearn.config.fill import check_part, fill, merged, set_dotted
from commlearn.datasets import READERS
from commlearn.errors import ConfigurationError, Problems, TrainingError, nearest, unknown
from commlearn.methods import METHODS
from commlearn.models.build import FUSIONS
from commlearn.models.encoders import ENCODERS
from commlearn.storage.plain_files import path_hint, plain_file
from commlearn.storage.plain_yaml import read_yaml

WHOLE = ("auto", "ddp")  # prefixes of strategies that keep the whole model on every device
SHARDED = "fsdp"  # the strategy that splits the model over devices
DEEPEST = 20  # longest chain of recipes that are based on one another
BEFORE: dict[str, dict[str, Any]] = {"clip": {"embedding": "projections"}}
"""By method: values of options from before they could be chosen, if different from today's defaults."""
Part = dict[str, Any]
"""A name from a registry and its options."""


@dataclass(frozen=True)
class Model:
    """Settings of the model: width, encoders, fusion and fixed features."""

    width: int = 512  # width of tokens and of the fused vector
    encoders: dict[str, Part] = field(default_factory=dict)  # by modality or by kind
    fusion: Part = field(default_factory=lambda: {"name": "attention"})  # for methods that fuse
    features: Literal["auto", "fixed", "learned"] = "auto"  # fixed ones of each modality or only learned ones
    networks: bool = True  # whether fixed features include outputs of installed published networks


@dataclass(frozen=True)
class Training:
    """Settings of the training."""

    epochs: int = 100  # passes over the training records
    batch_size: int = 64  # records per step, over all devices together
    micro_batch: int = 0  # records of a batch that are in memory together, on each device; 0 = all
    learning_rate: float = 3e-4  # peak learning rate of AdamW
    weight_decay: float = 1e-4  # not applied to biases, norms and 1-D parameters
    schedule: Literal["constant", "cosine"] = "constant"  # after the warm-up
    warmup_epochs: float = 0.0  # linear rise from 0 to the peak
    final_learning_rate: float = 0.0  # at the end of a cosine
    stand_ins: bool = False  # make half of a record's versions from a similar record (by fixed features)
    clip_norm: float = 0.0  # largest norm of the gradient; 0 = no clipping
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"  # as Lightning Fabric names it
    accelerator: str = "auto"  # cpu, cuda, ...
    devices: int = 1  # devices per node
    nodes: int = 1
    strategy: str = "auto"  # ddp and its variants: each device holds the whole model; fsdp: a part of it
    threads: int = 0  # CPU threads; 0 = torch decides
    log_every: int = 20  # steps between two lines of metrics
    checkpoint_every: int = 500  # steps between two checkpoints; one at the end in any case
    diagnose: int = 256  # most records that diagnostics embed after each epoch; 0 = no diagnostics

    def batches_in_epoch(self, records: int, devices: int = 1) -> int:
        """Return the number of whole batches in an epoch."""
        if self.batch_size > records:
            advice = f"Give a batch of at most {records}." if records > 1 else "At least 2 are needed."
            raise TrainingError(
                f"training.batch_size is {self.batch_size}, but there are only {records} training "
                f"records. {advice}"
            )
        if self.batch_size < devices:
            raise TrainingError(
                f"training.batch_size is {self.batch_size}, but there are {devices} devices that "
                "share it. Give a larger batch, or fewer devices."
            )
        return records // self.batch_size


@dataclass(frozen=True)
class Variant:
    """One of several trainings that a recipe consists of."""

    set: dict[str, Any] = field(default_factory=dict)  # dotted key -> value; they override the recipe's own


@dataclass(frozen=True)
class Score:
    """A column of the comparison: the mean of the probe scores of some targets on one training."""

    targets: list[str]
    variant: str = ""  # empty: the recipe's only training


@dataclass(frozen=True)
class Experiment:
    """Everything that defines a training: data, method, model, augmentations and settings."""

    name: str
    data: Part
    method: Part = field(default_factory=lambda: {"name": "comm"})
    seed: int = 0  # for initial weights, order and augmentation; the data have their own seed
    model: Model = field(default_factory=Model)
    augmentations: dict[str, Part] = field(default_factory=dict)  # by modality or by kind
    training: Training = field(default_factory=Training)
    variant: str = ""  # which of the variants below this run is
    variants: dict[str, Variant] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    published: dict[str, dict[str, float]] = field(default_factory=dict)  # method -> score -> percent
    about: str = ""
    stored: bool = field(default=False, compare=False)  # read from a folder: nothing it names is fetched


def recipes() -> dict[str, Path]:
    """Return the paths of the recipes inside the package, by name."""
    folder = Path(str(resources.files("commlearn") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_experiment(
    recipe: str | Path,
    overrides: Mapping[str, Any] | None = None,
    variant: str | None = None,
    method: str | None = None,
) -> Experiment:
    """Read a recipe by name or path, choose one of its variants and apply overrides.

    Args:
        recipe: name of a recipe inside the package, or path of a YAML file.
        overrides: dotted key to value, such as {"training.epochs": 20}; they win over the variant's.
        variant: which of the recipe's variants; if not given, the one it names, otherwise its first.
        method: replaces the recipe's method, whose options then do not carry over.

    Example:
        >>> read_experiment("trifeature-quick", {"training.epochs": 2}).training.epochs
        2
    """
    mapping = _with_base(_locate(recipe))
    mapping.setdefault("name", Path(recipe).stem)
    variants = _variants(mapping)
    settings = dict(overrides or {})
    stated = settings.pop("variant", None) or mapping.get("variant")
    variant_name = variant or stated or next(iter(variants), "")
    problems = Problems(f"Recipe {recipe}")
    if variant_name and variant_name not in [*variants]:  # a list: what YAML gives may not be hashable
        problems.add(unknown("variant", variant_name, variants))
    elif variant_name:
        mapping["variant"] = variant_name
        for key, value in variants[variant_name].items():
            set_dotted(mapping, key, value)
    mapping = _with_named_parts(mapping)
    method_part = mapping.get("method")
    if method is not None and not (isinstance(method_part, Mapping) and method_part.get("name") == method):
        mapping["method"] = {"name": method}
    for key, value in settings.items():
        set_dotted(mapping, key, value)
    return experiment_from(mapping, problems)


def _variants(mapping: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what each variant sets, without ill-formed parts: these are reported when all is checked."""
    entries = mapping.get("variants")
    sets: dict[str, dict[str, Any]] = {}
    for name, variant in entries.items() if isinstance(entries, Mapping) else ():
        settings = variant.get("set") if isinstance(variant, Mapping) else None
        settings = settings if isinstance(settings, Mapping) else {}
        sets[name] = {key: value for key, value in settings.items() if isinstance(key, str)}
    return sets


def experiment_from(mapping: Mapping[str, Any], problems: Problems | None = None) -> Experiment:
    """Check a whole mapping and turn it into an experiment; all problems are reported at once."""
    problems = problems or Problems("Configuration")
    mapping = _with_named_parts(mapping)
    experiment = fill(Experiment, mapping, "", problems)
    if experiment is not None:
        _check_parts(experiment, problems)
        _check_numbers(experiment, problems)
    problems.raise_if_any(ConfigurationError)
    return experiment


def stored_experiment(mapping: Mapping[str, Any]) -> Experiment:
    """Return the experiment of an older folder; options that it does not state are as they were then."""
    method = mapping.get("method")
    if isinstance(method, Mapping) and method.get("name") in [*BEFORE]:
        mapping = {**mapping, "method": {**BEFORE[method["name"]], **method}}
    return replace(experiment_from(mapping), stored=True)


def to_mapping(experiment: Experiment) -> dict[str, Any]:
    """Return plain values, as they are written to the run folder and read back."""
    return {key: value for key, value in asdict(experiment).items() if key != "stored"}


def _with_base(path: Path, depth: int = 0) -> dict[str, Any]:
    """Read a recipe's settings, merged over those of its `base`: a name, or a path relative to the recipe."""
    mapping = _read_yaml(path)
    if "base" not in mapping:
        return mapping
    settings = {key: value for key, value in mapping.items() if key != "base"}
    if depth > DEEPEST:
        raise ConfigurationError(f"base: {mapping['base']!r} is based on itself. Name another recipe.")
    sibling = path.parent / str(mapping["base"])
    base_path = _locate(sibling if sibling.is_file() else mapping["base"])
    base = _with_named_parts(_with_base(base_path, depth + 1))
    excluded = ("name", "variants", "scores", "published")  # these are not inherited from another recipe
    return merged({key: value for key, value in base.items() if key not in excluded}, settings)


def _locate(recipe: str | Path) -> Path:
    paths = recipes()
    if str(recipe) in paths:
        return paths[str(recipe)]
    path = Path(str(recipe))
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        return path
    if path.exists() or path.suffix in {".yaml", ".yml"}:
        hint = path_hint(path, "recipe") or " Check the path."
        raise ConfigurationError(f"{path} is not a recipe or schema file.{hint}")
    raise ConfigurationError(unknown("recipe", str(recipe), paths) + " A path to a .yaml file works too.")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = plain_file(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"{path} is not readable YAML: {problem}") from problem
    mapping = read_yaml(text, str(path))
    if not isinstance(mapping, dict):
        raise ConfigurationError(f"{path} should hold settings (key: value), got {mapping!r:.60}.")
    return mapping


def _with_named_parts(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Expand `method: comm` to `method: {name: comm}`, and also data, encoders, fusion and augmentations."""

    def expand(part: Any) -> Any:
        return {"name": part} if isinstance(part, str) else part

    result = dict(mapping)
    for key in ("data", "method"):
        if key in result:
            result[key] = expand(result[key])
    if isinstance(result.get("augmentations"), dict):
        result["augmentations"] = {key: expand(part) for key, part in result["augmentations"].items()}
    if isinstance(result.get("model"), dict):
        model = result["model"] = dict(result["model"])
        if isinstance(model.get("encoders"), dict):
            model["encoders"] = {key: expand(part) for key, part in model["encoders"].items()}
        if "fusion" in model:
            fusion = expand(model["fusion"])  # options without a name are for the default
            model["fusion"] = {**Model().fusion, **fusion} if isinstance(fusion, dict) else fusion
    return result


def _check_parts(experiment: Experiment, problems: Problems) -> None:
    check_part("reader", experiment.data, READERS, "data", problems)
    builders = {name: method.build for name, method in METHODS.items()}
    check_part("method", experiment.method, builders, "method", problems, given=BUILT)
    check_part("fusion", experiment.model.fusion, FUSIONS, "model.fusion", problems, ("modalities", "width"))
    for key, part in experiment.model.encoders.items():
        location = f"model.encoders.{key}"
        check_part("encoder", part, ENCODERS, location, problems, given=("shape", "width", "module"))
    for key, part in experiment.augmentations.items():
        choices = {"none": dict, **AUGMENTATIONS}
        check_part("augmentation", part, choices, f"augmentations.{key}", problems)
    for key, score in experiment.scores.items():
        if score.variant and score.variant not in experiment.variants:
            problems.add(f"scores.{key}: " + unknown("variant", score.variant, experiment.variants))


def _check_numbers(experiment: Experiment, problems: Problems) -> None:
    training, width = experiment.training, experiment.model.width
    if width < 1:
        problems.add(f"model.width is {width}; give a number above 0.")
    for key, seed in (("seed", experiment.seed), ("data.seed", experiment.data.get("seed", 0))):
        if isinstance(seed, int) and seed < 0:
            problems.add(f"{key} is {seed}; give 0 or more.")
    for key in ("epochs", "batch_size", "learning_rate", "devices", "nodes", "log_every", "checkpoint_every"):
        if not getattr(training, key) > 0:
            problems.add(f"training.{key} is {getattr(training, key)}; give a number above 0.")
    at_least_0 = ("weight_decay", "warmup_epochs", "final_learning_rate", "clip_norm", "threads", "diagnose")
    for key in (*at_least_0, "micro_batch"):
        if not getattr(training, key) >= 0:
            problems.add(f"training.{key} is {getattr(training, key)}; give 0 or more.")
    if training.strategy != SHARDED and not training.strategy.startswith(WHOLE):
        problems.add(
            f"training.strategy is '{training.strategy}'; give {', '.join(WHOLE)} or {SHARDED}. Most memory "
            "is taken by the batch, which training.micro_batch divides."
        )
    if training.micro_batch == 1:
        problems.add(
            "training.micro_batch is 1; give at least 2 records at a time, or 0 for the whole batch."
        )
    if training.batch_size == 1:
        problems.add("training.batch_size is 1; a contrast needs at least 2 records per batch.")


LONE_SETTINGS = {*(field.name for field in fields(Experiment)), "base"}
"""Settings that belong to no section."""
CALLED = {
    "lr": "training.learning_rate",
    "wd": "training.weight_decay",
    "bs": "training.batch_size",
    "gpus": "training.devices",
    "tau": "method.temperature",
    "dim": "model.width",
}
"""Names that other programs use for some settings."""
BUILT = ("encoders", "width", "fusion")  # arguments of a method that are not settings


def setting_like(word: str) -> str | None:
    """Return the setting that a word without a section means, by its exact name or a similar one.

    Example:
        >>> [setting_like(word) for word in ("batch-size", "test", "temprature", "colour")]
        ['training.batch_size', 'data.test', 'method.temperature', None]
    """
    names = {field.name: f"training.{field.name}" for field in fields(Training)}
    names |= {field.name: f"model.{field.name}" for field in fields(Model)}
    for method in METHODS.values():
        options = inspect.signature(method.build).parameters.keys() - set(BUILT)
        names |= {name: f"method.{name}" for name in options - names.keys()}
    names |= {name: f"data.{name}" for name in ("test", "validation", "stream", "root")}
    name = word.replace("-", "_")
    match = nearest(name, names)
    similar = match if match and (name in match or match in name or match[:3] == name[:3]) else None
    return CALLED.get(name) or names.get(name) or (names[similar] if similar else None)
