"""The training loop: draw a batch, descend its losses, log, and save a checkpoint now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from lightning_fabric import Fabric

from commlearn.trained.run_folder import RunFolder
from commlearn.training.callbacks import Start
from commlearn.training.descent import Descent, learning_rate_factor
from commlearn.training.sharding import gathered
from commlearn.training.watch import Interrupt, Watch


def descend(
    fabric: Fabric,
    optimizers: Mapping[str, Any],
    watch: Watch,
    start: Start,
    losses: Callable[[int], Iterator[Descent]],
    checkpoint_every: int,
    weights: Callable[[], dict[str, Any]],
    enough: Callable[[int], bool],
    stopped: bool = False,
) -> int:
    """Run the training loop: in every step, descend its losses one by one.

    Args:
        fabric: the engine.
        optimizers: as the engine placed them, by name of the group of parameters.
        watch: logs, and calls the callbacks.
        start: the first step and the last one.
        losses: yields the losses of the step with this number, each computed after descending the one before.
        checkpoint_every: steps between checkpoints; the last step has one, too.
        weights: returns what a checkpoint holds in addition to the optimizers.
        enough: returns whether the training ends after this many steps.
        stopped: whether the training has ended already.

    Returns:
        The number of completed steps.
    """
    training, step, stop = start.experiment.training, start.step, Interrupt()
    with watch.callbacks.following(start), stop:
        while step < start.total and not stopped:
            epoch = (step + 1) / start.steps_per_epoch
            factor = learning_rate_factor(training, epoch)
            factor = factor or float(start.total == 1)  # a single step is not the end of a cosine
            rate = training.learning_rate * factor
            for descent in losses(step):  # draw a batch, and compute each of its losses
                norm = _descend(fabric, optimizers[descent.step.group], descent, rate, training.clip_norm)
                watch.see(step + 1, descent.step, norm)
            step += 1
            due = watch.step(step, epoch, rate)  # log
            stopped = stop.should_stop(fabric, due, enough(step))
            if step % checkpoint_every == 0 or step == start.total or stopped:
                watch.check()
                state = {"step": step, "total": start.total, "threads": torch.get_num_threads(), **weights()}
                moments = {name: optimizer.state_dict() for name, optimizer in optimizers.items()}
                _save(fabric, watch.folder, {**state, "optimizers": moments})
        if stop.signalled:
            if fabric.is_global_zero:
                watch.folder.log(f"interrupted after step {step}; a checkpoint was written")
            raise stop.error()
    return step


def _descend(fabric: Fabric, optimizer: Any, descent: Descent, rate: float, largest_norm: float) -> Any:
    """Take one step of one player; return the norm of its gradient."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    descent.backward()
    norm = _clip(fabric, optimizer, largest_norm)
    optimizer.step()
    return norm


def _save(fabric: Fabric, folder: RunFolder, state: dict[str, Any]) -> None:
    state = gathered(state)
    if fabric.is_global_zero:
        folder.save(state)
    fabric.barrier()


def _clip(fabric: Fabric, optimizer: Any, largest: float) -> Any:
    """Clip the gradient if `largest` is set; return its norm. The watch reports non-finite losses."""
    scaler = getattr(fabric.strategy.precision, "scaler", None)  # only with 16-mixed
    # scaled gradients stay so until the optimizer's step, which is fused
    scale = 1.0 if scaler is None else scaler.get_scale()
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
    if largest > 0:
        torch.nn.utils.clip_grads_with_norm_(parameters, largest * scale, norm)
    return gathered(norm) / scale
