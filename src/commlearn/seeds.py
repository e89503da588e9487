"""One named random generator per purpose: the draws of one part never affect those of another.

A generator is made from (seed, purpose, counters) and nothing else, so that a resumed run needs no
stored random state: step 17 always gets the same augmentation.

Modules that accept no generator draw from torch's global one, which all threads of the process share. Two
trainings that seed it in two threads would use up each other's random numbers, and the caller's. So
`SeededDraws` gives each thread its own: a torch function mode belongs to one thread.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from commlearn.errors import ConfigurationError


def numpy_generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return a separate numpy generator for one purpose.

    Example:
        >>> a, b = numpy_generator(0, "split"), numpy_generator(0, "render")
        >>> bool(a.integers(1 << 30) == b.integers(1 << 30))
        False
    """
    return np.random.default_rng([checked(seed), zlib.crc32(purpose.encode()), *counters])


def checked(seed: int) -> int:
    """Return a seed; refuse a negative one, from which numpy makes no generator."""
    if seed < 0:
        raise ConfigurationError(f"seed is {seed}; give 0 or more.")
    return seed


def torch_seed(seed: int, purpose: str, *counters: int) -> int:
    """Return a 63-bit seed for torch."""
    entropy = np.random.SeedSequence([checked(seed), zlib.crc32(purpose.encode()), *counters])
    return int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1))


def torch_generator(seed: int, purpose: str, *counters: int) -> torch.Generator:
    """Return a separate CPU torch generator for one purpose."""
    return torch.Generator().manual_seed(torch_seed(seed, purpose, *counters))


TAKE_A_GENERATOR = frozenset(
    [
        *("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"),
        *("binomial", "uniform_", "normal_", "bernoulli_", "exponential_", "geometric_", "cauchy_"),
        *("log_normal_", "random_"),
        *("trunc_normal_", "xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_"),
        *("orthogonal_", "sparse_"),
    ]
)
TAKE_NONE = frozenset(
    [
        *("rand_like", "randn_like", "randint_like", "rrelu", "rrelu_", "gumbel_softmax", "native_dropout"),
        *("dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"),
        *("feature_dropout_", "alpha_dropout", "alpha_dropout_", "feature_alpha_dropout"),
        *("feature_alpha_dropout_", "fractional_max_pool2d", "fractional_max_pool3d"),
        *("multi_head_attention_forward", "scaled_dot_product_attention"),
        *("lstm", "gru", "rnn_tanh", "rnn_relu"),
    ]
)
DRAW_NOTHING = frozenset(
    [
        *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding, nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d),
        *(nn.ReLU, nn.GELU, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Unflatten, nn.Identity),
        *(nn.Sequential, nn.ModuleDict, nn.ModuleList, nn.ParameterDict),
    ]
)
TURN = threading.RLock()  # held while the global generator is lent


class SeededDraws(TorchFunctionMode):
    """Context in which this thread's draws come from the seed; the global generator stays unchanged.

    Functions that take a generator are given one. For the few that take none, such as dropout, the global
    generator is lent for the duration of the call, to one thread at a time. When entered again, the context
    continues where it stopped.

    Args:
        seed: seed of the draws on every device.

    Example:
        >>> before = torch.get_rng_state()
        >>> with SeededDraws(0):
        ...     first = torch.nn.Linear(2, 2).weight
        >>> with SeededDraws(0):
        ...     second = torch.nn.Linear(2, 2).weight
        >>> torch.equal(first, second), torch.equal(torch.get_rng_state(), before)
        (True, True)
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.generators: dict[torch.device, torch.Generator] = {}

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        name = getattr(function, "__name__", "")
        if name in TAKE_A_GENERATOR and options.get("generator") is None:
            device = device_of(args, options)
            if device.type != "meta":  # the meta device holds no numbers
                options = {**options, "generator": self.generator(device)}
        elif name in TAKE_NONE and (name != "scaled_dot_product_attention" or _drops(*args, **options)):
            return self.lent(function, args, options)
        return function(*args, **options)

    def generator(self, device: torch.device) -> torch.Generator:
        """Return the generator of a device."""
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self.generators[device]

    def lent(self, function: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Call the function with the global generator of its device set to our state."""
        device = device_of(args, options)
        if device.type == "meta":
            return function(*args, **options)
        generator = self.generator(device)
        shared: torch.Generator = (
            torch.default_generator
            if device.type == "cpu"
            else torch.get_device_module(device).default_generators[device.index or 0]
        )
        with TURN:
            previous = shared.get_state()
            shared.set_state(generator.get_state())
            try:
                return function(*args, **options)
            finally:
                generator.set_state(shared.get_state())
                shared.set_state(previous)


def may_draw(module: nn.Module) -> bool:
    """Return whether any part of a module might draw; others need no `SeededDraws`, which slows every call.

    Any module might, except the torch modules listed here and modules of this library without `draws = True`.

    Example:
        >>> may_draw(nn.Sequential(nn.Linear(2, 3), nn.Dropout())), may_draw(nn.Linear(2, 3))
        (True, False)
    """
    return any(map(_part_may_draw, module.modules()))


def _part_may_draw(part: nn.Module) -> bool:
    if part._forward_hooks or part._forward_pre_hooks:
        return True
    if type(part).__module__.startswith("commlearn."):
        return bool(getattr(part, "draws", False))
    return type(part) not in DRAW_NOTHING


def device_of(args: Sequence[Any], options: Mapping[str, Any]) -> torch.device:
    """Return the device of a call: the stated one, otherwise its first tensor's, otherwise the default."""
    requested = options.get("device")
    if requested is not None:
        return torch.empty(0, device=requested).device  # with its index
    tensors = (value for value in (*args, *options.values()) if isinstance(value, Tensor))
    first = next(tensors, None)
    return torch.get_default_device() if first is None else first.device


def _drops(query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, **_: Any) -> bool:
    return dropout_p > 0
