"""The model card: what an artifact is, what it was trained on, how well probes read it, and its limits."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from typing import Any

import torch

import commlearn
from commlearn.config.configuration import to_mapping
from commlearn.config.places import place_free
from commlearn.errors import RunError
from commlearn.escapes import code_span, markdown
from commlearn.models.encoders.own import modules_of
from commlearn.storage.plain_yaml import read_yaml, yaml_text
from commlearn.trained.model import Trained

LIBRARY = {"library_name": "commlearn"}
HEAD = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)  # the part of a card that hubs read
USE = (
    '## Use\n\n```python\nimport commlearn\n\nmodel = commlearn.load("{}")\n'
    'z = commlearn.embed(model, "table.parquet")\n```'
)
MEASURES = {"balanced_accuracy": "balanced accuracy", "r2": "R2", "weighted_f1": "weighted F1"}


def model_card(trained: Trained, probes: Mapping[str, Any]) -> str:
    """Return the model card of a trained model as Markdown, for human readers."""
    count = sum(parameter.numel() for parameter in trained.method.parameters())
    experiment = to_mapping(trained.experiment)
    settings = {key: experiment[key] for key in ("method", "seed", "model", "augmentations", "training")}
    learning = [] if trained.saw_labels else ["self-supervised"]
    kinds = sorted({spec.kind for spec in trained.specs.values()})
    tags = ["multimodal", *learning, "embeddings", str(trained.experiment.method["name"]), *kinds]
    labels = f"with {markdown(trained.labels_seen)}" if trained.saw_labels else "without labels"
    modules = modules_of(trained.method.encoders)
    own_modules = (
        f"The encoders of {markdown(', '.join(modules))} are the owner's own torch modules. Their weights "
        "are included, but their code is not: pass the modules to `load`, as `encoders`, by modality."
    )
    sections = [
        _head({**LIBRARY, "tags": tags}),
        f"# {markdown(trained.experiment.name)}\n\nEmbeds records of {markdown(', '.join(trained.specs))}; "
        "any subset of these modalities is enough. Trained with commlearn (method "
        f"{trained.experiment.method['name']}), {labels}; {count:,} parameters.",
        USE.format("this folder"),
        *([own_modules] if modules else []),
        *_features(trained),
        "## Data\n\n" + "\n".join(_modality(trained, name) for name in trained.specs),
        "## Linear probe results\n\n" + measured(probes),
        f"## Settings\n\n{_fence(yaml_text(settings))}",
        f"## Versions\n\ncommlearn {commlearn.__version__}, torch {torch.__version__}, Python "
        f"{platform.python_version()}.",
        "## Limits\n\nThe model reflects its training rows: records from other sources, devices or times may "
        "embed differently, and the embeddings inherit the biases of those rows. A probe's score holds for "
        "records like its test records. A record needs at least one of the modalities.",
        "## Rights\n\nThe weights you train are yours. The training data may have their own terms.",
    ]
    return "\n".join([sections[0], "\n\n".join(sections[1:])]) + "\n"


def hub_card(card: str, address: str, stated: Mapping[str, Any]) -> str:
    """Return a card for a hub, with the owner's statements in its head and code that loads it from there.

    Args:
        card: the card as it was written, or edited since.
        address: address of the model.
        stated: values to add to the head, which the hub reads.
    """
    card = card.replace("\r\n", "\n")
    head = HEAD.match(card)
    values = read_yaml(head[1] if head else "", f"The head of {address}'s model card") or {}
    if not isinstance(values, dict):
        raise RunError(f"The head of {address}'s model card does not map names to values. Fix its YAML.")
    install = "```sh\npip install 'commlearn[hf]'\n```\n\n"
    use = USE.format(address).replace("```python", f"{install}```python")
    body = card[head.end() :] if head else card
    return _head({**LIBRARY, **values, **stated}) + body.replace(USE.format("this folder"), use)


def _head(values: Mapping[str, Any]) -> str:
    return f"---\n{yaml_text(dict(values), allow_unicode=True)}---\n"


def _features(trained: Trained) -> list[str]:
    """Return a section on the fixed features that an embedding holds, if there are any."""
    if trained.features is None:
        return []
    sources = [
        f"\n\nFixed features of {markdown(name)} are {block.raw.source}."
        for name, block in trained.features.each.items()
        if block.raw.source
    ]
    dims = ", ".join(f"{dim} of {name}" for name, dim in trained.features.dims.items())
    return [
        "## What an embedding holds\n\nThe learned part, then fixed features of each modality, "
        f"which were not trained ({dims}). Choose with `blocks` (`all`, `learned` or `features`). ONNX "
        "graphs hold only the learned part." + "".join(sources)
    ]


def _modality(trained: Trained, name: str) -> str:
    spec = trained.specs[name]
    columns = ""
    if trained.schema is not None:
        names = trained.schema.modalities[name].columns()
        columns = f" of {', '.join(map(code_span, names[:8]))}"
        columns += f" and {len(names) - 8} more columns" if len(names) > 8 else ""
    state = (trained.state or {}).get(name) or {}
    shape = spec.shape[:1] if spec.kind == "text" else spec.shape
    line = f"- **{markdown(name)}**: {spec.kind}{columns}, {' x '.join(map(str, shape))}{_statistics(state)}"
    if "encoder" not in state:
        return line
    encoder = state["encoder"]
    source, mode = markdown(place_free(encoder["pretrained"])), "frozen" if encoder["frozen"] else "tuned"
    return (
        f"{line}; encoder {source} ({encoder['architecture']}, {mode}, SHA-256 {encoder['sha256'][:12]}), "
        "whose own licence applies to its weights"
    )


def _statistics(state: Mapping[str, Any]) -> str:
    """Summarise the statistics of the training rows in a few words."""
    facts = []
    for key, value in state.items():
        if isinstance(value, list) and key in ("words", "numbers", "categories"):
            facts.append(f"{len(value)} {key}")
        elif isinstance(value, list) and value and all(isinstance(part, int | float) for part in value):
            facts.append(f"{key} {min(value):.4g} to {max(value):.4g}")
        elif isinstance(value, int | float):
            facts.append(f"{key} {value}")
    return f" ({', '.join(facts)})" if facts else ""


def measured(probes: Mapping[str, Any]) -> str:
    """Return the results of probes as a Markdown table."""
    if not probes:
        return "Nothing was measured."
    lines = [
        "| target | measure | score | 95 % interval | chance | test records |",
        "|---|---|---|---|---|---|",
    ]
    for target, result in probes.items():
        (measure, score), *_ = ((MEASURES[key], result[key]) for key in MEASURES if key in result)
        low, high = result["interval"]  # None of too few rows or groups
        limits = "none" if low is None else f"{low:.3f} to {high:.3f}"
        shown = "none" if score is None else f"{score:.3f}"  # R2 of test records with one value
        lines.append(
            f"| {markdown(target)} | {measure} | {shown} | {limits} "
            f"| {result.get('chance', 0):.3f} | {result['test_records']} |"
        )
    return "\n".join(lines)


def _fence(text: str) -> str:
    """Return YAML as a fenced block, with a fence longer than any run of backticks in the text."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}yaml\n{text}{fence}"
