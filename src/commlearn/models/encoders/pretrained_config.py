"""What counts of a transformer's configuration: sizes and switches of its own class, and names of functions.

A configuration comes from a folder or an artifact of others. transformers lets it name more: kernels of
attention that are downloaded and run, code, quantisers, other models as parts. None of that is passed on.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from typing import Any

from commlearn.errors import ConfigurationError

WORDS = frozenset(
    {
        *("hidden_act", "hidden_activation", "activation", "activation_function", "pooler_act"),
        *("pooler_hidden_act", "projection_hidden_act", "summary_activation", "classifier_activation"),
        *("feed_forward_proj", "position_embedding_type", "attention_type", "layer_type", "layer_types"),
        *("summary_type", "classifier_pooling", "rope_parameters", "pos_att_type", "norm_rel_ebd"),
    }
)
"""Options whose values may hold words: each chooses among what is written in the library."""
WORD = re.compile(r"[\w-]*")  # names of a hub and paths have slashes or dots
KERNELS = ("get_kernel", "is_kernels_available", "lazy_load_kernel")  # in modules that download code to run


def safe_config(model: Any, base: Any, stated: Mapping[str, Any]) -> Any:
    """The configuration of a model of transformers, with attention that torch computes.

    Args:
        model: class of the model.
        base: class of all configurations, whose own options do not count.
        stated: what the configuration says of it; options that are none of the model's do not count.

    Raises:
        ConfigurationError: an option names something else than a number or a function of the library, or the
            model is one that loads other models or kernels.
    """
    _refuse_loaders(model)
    config = model.config_class(**admitted(model, base, stated))
    parts = [name for name in _options(model, base) if _wrong(name, _plain(getattr(config, name, None)))]
    if parts:
        raise ConfigurationError(
            f"{model.__name__} is built from other models ({', '.join(parts)}), which are not loaded here. "
            "Choose a model that is one transformer."
        )
    config._attn_implementation = "sdpa" if model._supports_sdpa else "eager"
    return config


def admitted(model: Any, base: Any, stated: Mapping[str, Any]) -> dict[str, Any]:
    """The options that count; of those of the model's own class, one that names anything is refused."""
    chosen = {name: stated[name] for name in _options(model, base) if name in stated}
    for name, value in chosen.items():
        if _wrong(name, value):
            raise ConfigurationError(
                f"The configuration of {model.__name__} states {name}: {value!r:.60}, which could name code "
                "or another model. Numbers and names of functions are read; leave it out if you trust it."
            )
    return chosen


def _refuse_loaders(model: Any) -> None:
    """Models whose own modules ask a hub for code."""
    if any(hasattr(sys.modules[model.__module__], name) for name in KERNELS):
        raise ConfigurationError(
            f"{model.__name__} runs kernels that are downloaded, which is not done here. Choose another one."
        )


def _options(model: Any, base: Any) -> list[str]:
    """Options of the model's own class."""
    general = {*inspect.signature(base.__init__).parameters, "args", "kwargs"}
    stated = inspect.signature(model.config_class.__init__).parameters
    return [name for name in stated if name not in general and not name.startswith("_")]


def _wrong(name: str, value: Any) -> bool:
    """Whether a value is more than numbers, and words where there may be some."""
    if value is None or isinstance(value, int | float):
        return False
    if isinstance(value, list | tuple):
        return any(_wrong(name, entry) for entry in value)
    if name not in WORDS:
        return True
    if isinstance(value, Mapping):
        return any(_wrong(name, entry) for pair in value.items() for entry in pair)
    return not isinstance(value, str) or not WORD.fullmatch(value)


def _plain(value: Any) -> Any:
    """Settings that are objects as the mapping that they were."""
    return value.to_dict() if hasattr(value, "to_dict") else value
