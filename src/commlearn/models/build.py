"""Builds modules from names and shapes: the one place where encoders and fusions are looked up."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from commlearn.batch import Spec
from commlearn.errors import ConfigurationError, unknown
from commlearn.models.encoders import ENCODERS, default_encoder
from commlearn.models.encoders.own import OWN
from commlearn.models.encoders.pretrained import pretrained
from commlearn.models.encoders.tabular import FIXED
from commlearn.models.features import FeatureBlocks, FixedFeatures
from commlearn.models.fusion import ClassAttentionFusion, ConcatFusion, CrossAttentionFusion, Fusion


def attention(modalities: Sequence[str], width: int, layers: int = 1, heads: int = 8) -> Fusion:
    """Build CoMM's fusion: a learned token reads the tokens of all modalities of the subset."""
    return Fusion(width, layers, heads)


def class_attention(
    modalities: Sequence[str], width: int, layers: int = 2, heads: int = 8
) -> ClassAttentionFusion:
    """Build CoMM's fusion with more layers at less cost: the learned token reads the same tokens again."""
    return ClassAttentionFusion(width, layers, heads)


def cross_attention(
    modalities: Sequence[str], width: int, layers: int = 1, heads: int = 8
) -> CrossAttentionFusion:
    """Build a fusion in which the tokens of each modality read those of the others."""
    return CrossAttentionFusion(width, layers, heads)


def concat_linear(modalities: Sequence[str], width: int) -> ConcatFusion:
    """Build a fusion that concatenates mean tokens and applies one linear map."""
    return ConcatFusion(modalities, width)


def concat_mlp(modalities: Sequence[str], width: int, hidden: int = 512) -> ConcatFusion:
    """Build a fusion that concatenates mean tokens and applies an MLP."""
    after = nn.Sequential(nn.ReLU(), nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
    return ConcatFusion(modalities, width, after)


FUSIONS: dict[str, Callable[..., nn.Module]] = {
    "attention": attention,
    "class_attention": class_attention,
    "concat_linear": concat_linear,
    "concat_mlp": concat_mlp,
    "cross_attention": cross_attention,
}


def build_fusion(modalities: Sequence[str], width: int, chosen: Mapping[str, Any]) -> nn.Module:
    """Build the fusion that a configuration names, with its options."""
    options = dict(chosen)
    name = options.pop("name")
    if name not in FUSIONS:
        raise ConfigurationError(unknown("fusion", name, FUSIONS))
    _check_options(f"fusion {name}", FUSIONS[name], options)
    try:
        return FUSIONS[name](modalities, width, **options)
    except ValueError as problem:
        raise ConfigurationError(f"model.fusion: {problem}") from problem


def build_encoders(
    specs: Mapping[str, Spec],
    width: int,
    chosen: Mapping[str, Mapping[str, Any]],
    described: Mapping[str, Mapping[str, Any]] | None = None,
    fresh: bool = True,
    features: FeatureBlocks | None = None,
    modules: Mapping[str, nn.Module] | None = None,
) -> dict[str, nn.Module]:
    """Build one encoder for each modality.

    Args:
        specs: kind and shape of each modality, in schema order.
        width: width of the tokens.
        chosen: encoder name and options, by modality or by kind; the rest get their kind's default.
        described: pretrained encoders that modalities were prepared for, by modality; `chosen` overrides
            them if it names the modality itself.
        fresh: whether initial weights matter; False if a checkpoint will replace them.
        features: fixed features that have learned, which the encoder `fixed` reads.
        modules: the user's modules, by modality; copies of them become the encoders.
    """
    encoders: dict[str, nn.Module] = {}
    copies = copy.deepcopy(dict(modules or {}))  # copied together, so that shared parts stay shared
    for name, spec in specs.items():
        if described and name in described and name not in chosen:
            encoders[name] = pretrained(spec.shape, width, described[name], fresh)
            continue
        options = dict(encoder_part(chosen, name, specs))
        encoder = options.pop("name")
        if encoder not in ENCODERS:
            raise ConfigurationError(unknown("encoder", encoder, ENCODERS))
        build = ENCODERS[encoder]
        _check_options(f"encoder {encoder}", build, options)
        source: Any = spec.shape
        if encoder == FIXED:
            source = _features(features, name)
        elif encoder == OWN:
            if name not in copies:
                raise not_passed(name)
            source = copies.pop(name)
        encoders[name] = build(source, width, **options)
    for name in copies:
        readers = [other for other in specs if encoder_part(chosen, other, specs)["name"] == OWN]
        raise ConfigurationError(
            f"A module was passed as the encoder of '{name}', but only these modalities have such an "
            f"encoder: {', '.join(readers)}."
        )
    return encoders


def part_of(parts: Mapping[str, Any], name: str, specs: Mapping[str, Spec]) -> Any:
    """Return the part stated for a modality or its kind, if any; a name of a modality never means a kind.

    Example:
        >>> specs = {"text": Spec("vector", (3,)), "title": Spec("text", (9,)), "age": Spec("vector", (1,))}
        >>> [part_of({"text": "linear", "vector": "mlp"}, name, specs) for name in specs]
        ['linear', None, 'mlp']
    """
    return parts.get(name) or part_of_kind(parts, name, specs)


def part_of_kind(parts: Mapping[str, Any], name: str, specs: Mapping[str, Spec]) -> Any:
    """Return the part stated for the kind of a modality, if any."""
    kind = specs[name].kind
    return None if kind in specs else parts.get(kind)


def encoder_part(
    chosen: Mapping[str, Mapping[str, Any]], name: str, specs: Mapping[str, Spec]
) -> Mapping[str, Any]:
    """Return the encoder chosen for a modality or for its kind, or the kind's default."""
    return part_of(chosen, name, specs) or {"name": default_encoder(specs[name])}


def _features(features: FeatureBlocks | None, name: str) -> FixedFeatures:
    if features is None or name not in features.each:
        raise ConfigurationError(
            f"The encoder {FIXED} of '{name}' needs the modality's fixed features, but there are none. Set "
            "model.features=fixed, or choose another encoder."
        )
    return features.each[name]


def not_passed(name: str) -> ConfigurationError:
    """Return the error for a modality whose encoder is a user-defined module that was not passed."""
    return ConfigurationError(
        f"The encoder of '{name}' is a module of your own, and no file holds its code. Pass it in Python: "
        f"encoders={{'{name}': module}} is an argument of cl.load, cl.train, Embedder and Embedder.load."
    )


def _check_options(part: str, build: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse options that a builder lacks; its options are all its parameters but the first two."""
    accepted = list(inspect.signature(build).parameters)[2:]
    for option in options:
        if option not in accepted:
            raise ConfigurationError(unknown(f"option of {part}", option, accepted))
