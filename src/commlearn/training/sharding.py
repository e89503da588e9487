"""FSDP: between steps, every device holds a part of each parameter, its gradient and AdamW's moments.

Fabric's FSDP2 gathers the parameters for a step and shards the gradients after it. One rank writes
complete checkpoints, as in any other run. They are like those of a single device, and a run can resume
from them on any number of devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from lightning_fabric.strategies.strategy import Strategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map

from commlearn.config.configuration import SHARDED, Training
from commlearn.errors import ConfigurationError


def strategy_of(training: Training) -> str | Strategy:
    """Return Fabric's strategy: FSDP2 over all devices, DDP without unneeded work, or a name it knows."""
    if training.strategy == SHARDED:
        return ModelParallelStrategy(_shard, training.devices * training.nodes, tensor_parallel_size=1)
    if training.strategy == "ddp":
        # Batch norms use their batch in training, so buffers need no exchange: rank 0 saves its own.
        parameters = signature(DistributedDataParallel).parameters
        option = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
        options: dict[str, Any] = {option: False, "gradient_as_bucket_view": True}
        return DDPStrategy(**options)
    return training.strategy


def _shard(player: nn.Module, mesh: DeviceMesh) -> nn.Module:
    scalars = [name for name, parameter in player.named_parameters() if parameter.ndim == 0]
    if scalars:
        raise ConfigurationError(
            f"training.strategy is '{SHARDED}', but {', '.join(scalars)} is a scalar, which FSDP cannot "
            "shard. Set training.strategy to ddp, or use a temperature that is not learned."
        )
    for parameter in player.parameters():
        parameter.data = parameter.data.contiguous()  # kernels are channels-last
    fully_shard(player, mesh=mesh["data_parallel"])
    return player


@contextmanager
def unsharded(player: nn.Module) -> Iterator[None]:
    """Gather all parameters on every device within the block, so that the method can be called directly."""
    modules = gather_parameters(player)
    try:
        yield
    finally:
        for module in modules:
            module.reshard()


def gather_parameters(player: nn.Module) -> list[FSDPModule]:
    """Gather all parameters on every device from now on; return the modules that were sharded."""
    modules = _sharded_modules(player)
    for module in modules:
        module.unshard()
    return modules


@contextmanager
def without_gradient_sync(fabric: Fabric, player: nn.Module, enabled: bool = True) -> Iterator[None]:
    """Keep gradients local and parameters gathered, as ranks may have unequal numbers of parts."""
    for module in _sharded_modules(player):
        module.set_reshard_after_backward(not enabled)
    with fabric.no_backward_sync(player, enabled):  # type: ignore[arg-type]
        yield


def _sharded_modules(player: nn.Module) -> list[FSDPModule]:
    return [module for module in player.modules() if isinstance(module, FSDPModule)]


def gathered(state: Any) -> Any:
    """Return a state with every tensor gathered; all ranks have to call this."""
    return tree_map(lambda value: value.full_tensor() if isinstance(value, DTensor) else value, state)


def shard_optimizer_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimizer's whole state, or this rank's part of it if the parameters are sharded."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not any(isinstance(parameter, DTensor) for parameter in parameters):
        return state

    def shard(value: Any, parameter: Tensor) -> Any:
        if not isinstance(parameter, DTensor) or not isinstance(value, Tensor) or not value.ndim:
            return value
        return distribute_tensor(
            value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
        )

    moments = {
        number: {key: shard(value, parameters[number]) for key, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": moments}
