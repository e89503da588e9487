"""Training: one loop to read at one sitting, on Lightning Fabric."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from commlearn.augmentations import AUGMENTATIONS, DEFAULT_AUGMENTATION, Augmentation, make_batch
from commlearn.data import READERS
from commlearn.data.batch import Batch, to_device
from commlearn.data.records import Dataset, Records, Spec
from commlearn.errors import CheckpointError, RunError, TrainingError
from commlearn.methods import METHODS
from commlearn.methods.base import Method, Step
from commlearn.models.build import build_encoders
from commlearn.seeds import numpy_generator, torch_generator, torch_seed
from commlearn.training.checkpoint import write_checkpoint
from commlearn.training.configuration import Experiment, Training, read_experiment, to_mapping
from commlearn.training.optimization import adamw, learning_rate_factor
from commlearn.training.progress import Progress, Silent
from commlearn.training.run_folder import METRICS, SPEED, RunFolder

__all__ = ["Run", "build_method", "load_run", "read_data", "train"]


@dataclass(frozen=True)
class Run:
    """A training that ended, or was loaded from its folder."""

    folder: RunFolder
    experiment: Experiment
    method: Method
    step: int
    warnings: tuple[str, ...] = ()


def train(
    experiment: Experiment | str | Path,
    out: str | Path,
    data: Dataset | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Train what the experiment says and keep all of it in the folder `out`.

    Args:
        experiment: what to train, or the name or path of a recipe.
        out: the run folder; one that holds a run is refused unless `resume` or `overwrite`.
        data: records, if they are not to be read as the experiment says.
        resume: go on from the folder's last checkpoint, to the same weights as never interrupted.
        overwrite: throw away the run that the folder holds.
        progress: shows how far training is; silent if not given.

    Example:
        >>> import tempfile
        >>> experiment = read_experiment(
        ...     "trifeature-quick", {"training.epochs": 1, "data.size": 32, "data.train_pairs": 64}
        ... )
        >>> run = train(experiment, tempfile.mkdtemp())
        >>> run.step
        1
    """
    if not isinstance(experiment, Experiment):
        experiment = read_experiment(experiment)
    folder = RunFolder(out)
    state, warnings = _open(folder, experiment, resume, overwrite)
    try:
        if data is None:
            data = read_data(experiment)
        return _train(folder, experiment, data, state, warnings, progress or Silent())
    finally:
        folder.unlock()


def _train(
    folder: RunFolder,
    experiment: Experiment,
    data: Dataset,
    state: dict[str, Any] | None,
    warnings: list[str],
    progress: Progress,
) -> Run:
    training, records = experiment.training, data.train
    steps_per_epoch = len(records) // training.batch_size
    if steps_per_epoch == 0:
        raise TrainingError(
            f"training.batch_size is {training.batch_size}, but there are only {len(records)} training records. "
            f"Give a batch of at most {len(records)}."
        )
    fabric = _fabric(training)
    method = build_method(experiment, records.specs)
    optimizers = {group: adamw(params, training) for group, params in method.parameter_groups().items()}
    step = _restore(state, method, optimizers, experiment) if state else 0
    if fabric.is_global_zero:
        folder.truncate_metrics(step) if state else folder.create(experiment, records.specs)
        folder.log(f"{'resumed' if state else 'started'} at step {step} of {training.epochs * steps_per_epoch}")
    fabric.barrier()
    player, *prepared = fabric.setup(Player(method), *optimizers.values())
    optimizers = dict(zip(optimizers, prepared, strict=True))
    method.train()

    watch = Watch(folder, training, progress, fabric.is_global_zero)
    augmentations = build_augmentations(experiment, records.specs)
    total = training.epochs * steps_per_epoch
    stop = _Interrupt()
    progress.start(experiment, step, total, steps_per_epoch)
    with stop:
        while step < total and not stop.asked:
            factor = learning_rate_factor(training, (step + 1) / steps_per_epoch)
            batch = draw_batch(records, experiment, augmentations, method, step, steps_per_epoch, fabric)
            torch.manual_seed(torch_seed(experiment.seed, "dropout", step, fabric.global_rank))
            for loss, *parts in take_steps(player, method, batch):
                optimizer = optimizers[parts[-1]]
                _set_rate(optimizer, training.learning_rate * factor)
                optimizer.zero_grad()
                fabric.backward(loss)
                norm = _clip(fabric, player, optimizer, training.clip_norm)
                optimizer.step()
                watch.see(step + 1, *parts, norm=norm)
            step += 1
            watch.step(step, step / steps_per_epoch, training.learning_rate * factor)
            if step % training.checkpoint_every == 0 or step == total or stop.asked:
                watch.check()
                if fabric.is_global_zero:
                    _save(folder, experiment, method, optimizers, step, total)
                fabric.barrier()
    progress.stop()
    if stop.asked:
        folder.log(f"interrupted after step {step}; a checkpoint was written")
        raise stop.error()
    if fabric.is_global_zero:
        folder.write_metrics_table()
        folder.log(f"finished after step {step}")
    method.eval()
    return Run(folder, experiment, method, step, tuple(warnings))


class Player(nn.Module):
    """Lets the engine wrap a method whose step is a generator: each call computes the next loss."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, steps: Iterator[Step]) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor], str]:
        step = next(steps)
        return step.loss, step.terms, step.accuracy, step.group


def take_steps(player: nn.Module, method: Method, batch: Batch) -> Iterator[tuple[Any, ...]]:
    """Each of a method's losses for one batch; the next is computed after the last was descended."""
    steps = method.steps(batch)
    for _ in range(method.steps_per_batch):
        yield player(steps)


def draw_batch(
    records: Records,
    experiment: Experiment,
    augmentations: Mapping[str, Augmentation],
    method: Method,
    step: int,
    steps_per_epoch: int,
    fabric: Fabric,
) -> Batch:
    """The batch of one step: this rank's share of the records, moved, then augmented on the device."""
    epoch, place = divmod(step, steps_per_epoch)
    order = numpy_generator(experiment.seed, "order", epoch).permutation(len(records))
    size = experiment.training.batch_size
    rows = order[place * size : (place + 1) * size][fabric.global_rank :: fabric.world_size]
    view = to_device(records.view(rows), fabric.device)
    labels = records.labels(rows) if method.views.targets else {}
    targets = {name: values.to(fabric.device) for name, values in labels.items()}
    generator = torch_generator(experiment.seed, "augment", step, fabric.global_rank)
    needed = method.views
    return make_batch(
        view, targets, augmentations, generator, needed.plain, needed.augmented, records.specs
    )


def build_method(experiment: Experiment, specs: Mapping[str, Spec]) -> Method:
    """The method with fresh weights, decided by the seed alone."""
    options = dict(experiment.method)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(experiment.seed, "init"))
        encoders = build_encoders(specs, experiment.model.width, experiment.model.encoders)
        return METHODS[options.pop("name")].build(encoders, experiment.model.width, **options)


def build_augmentations(experiment: Experiment, specs: Mapping[str, Spec]) -> dict[str, Augmentation]:
    """One augmentation for each modality: named for it, for its kind, or the kind's default."""
    built = {}
    for name, spec in specs.items():
        default = {"name": DEFAULT_AUGMENTATION[spec.kind]}
        options = dict(experiment.augmentations.get(name) or experiment.augmentations.get(spec.kind) or default)
        chosen = options.pop("name")
        if chosen != "none":
            built[name] = AUGMENTATIONS[chosen](**options)
    return built


def read_data(experiment: Experiment) -> Dataset:
    """Read the data set that the experiment names."""
    options = dict(experiment.data)
    return READERS[options.pop("name")](**options).read()


def load_run(path: str | Path) -> Run:
    """A run from its folder, with the weights of its newest whole checkpoint."""
    folder = RunFolder(path)
    experiment = folder.experiment()
    state, warnings = folder.state()
    method = build_method(experiment, folder.specs())
    _restore(state, method, {}, experiment)
    return Run(folder, experiment, method.eval(), state["step"], tuple(warnings))


class Watch:
    """Checks that losses are finite and writes metrics, without a synchronisation at every step."""

    def __init__(self, folder: RunFolder, training: Training, progress: Progress, writes: bool) -> None:
        self.folder, self.training, self.progress, self.writes = folder, training, progress, writes
        self.unchecked: list[tuple[int, dict[str, Tensor]]] = []
        self.latest: dict[str, dict[str, Tensor]] = {"terms": {}, "accuracy": {}, "gradient_norm": {}}
        self.since = time.perf_counter()
        self.since_step: int | None = None

    def see(
        self,
        step: int,
        terms: dict[str, Tensor],
        accuracy: dict[str, Tensor],
        group: str,
        norm: Tensor,
    ) -> None:
        """Take note of one loss that was descended."""
        prefix = "" if group == "main" else f"{group}."
        named = {prefix + name: term.detach() for name, term in terms.items()}
        self.unchecked.append((step, named))
        self.latest["terms"] |= named
        self.latest["accuracy"] |= {prefix + name: value for name, value in accuracy.items()}
        self.latest["gradient_norm"] |= {group: norm}

    def step(self, step: int, epoch: float, rate: float) -> None:
        """End of a step: at some, check all losses since the last check, and write metrics."""
        if self.since_step is None:
            self.since_step = step - 1
        if step % self.training.log_every:
            return
        self.check()
        values = {key: {name: float(v) for name, v in part.items()} for key, part in self.latest.items()}
        now = time.perf_counter()
        rate_of_samples = (step - self.since_step) * self.training.batch_size / (now - self.since)
        self.since, self.since_step = now, step
        if self.writes:
            entry = {"step": step, "epoch": round(epoch, 6), "learning_rate": rate, **values}
            self.folder.append(METRICS, entry)
            self.folder.append(SPEED, {"step": step, "samples_per_second": round(rate_of_samples, 2)})
        self.progress.step(step, values["terms"], values["accuracy"], rate_of_samples)

    def check(self) -> None:
        """Stop at the first loss that was not finite; nothing after it was saved."""
        for step, terms in self.unchecked:
            for name, term in terms.items():
                if not torch.isfinite(term):
                    raise TrainingError(
                        f"The loss term '{name}' is {float(term)} at step {step}. {self._last_good()} Lower "
                        "training.learning_rate, set training.clip_norm to 1, or look for extreme values in "
                        "the data."
                    )
        self.unchecked.clear()

    def _last_good(self) -> str:
        try:
            state, _ = self.folder.state()
        except CheckpointError:
            return "There is no checkpoint from before it."
        return f"The last good checkpoint is of step {state['step']} in {self.folder.checkpoints}."


class _Interrupt:
    """Turns Ctrl-C and SIGTERM into a checkpoint after the step in progress."""

    def __init__(self) -> None:
        self.asked = 0
        self.before: dict[int, Any] = {}

    def __enter__(self) -> _Interrupt:
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._ask)
        except ValueError:  # not the main thread: its owner handles signals
            pass
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = number

    def error(self) -> BaseException:
        return KeyboardInterrupt() if self.asked == signal.SIGINT else SystemExit(128 + self.asked)


def _open(
    folder: RunFolder, experiment: Experiment, resume: bool, overwrite: bool
) -> tuple[dict[str, Any] | None, list[str]]:
    """Lock the folder and decide whether this run starts afresh or goes on."""
    if not folder.exists:
        folder.lock()
        return None, []
    if not (resume or overwrite):
        raise RunError(
            f"{folder.path} holds a run already. Go on with --resume, replace it with --overwrite, or give "
            "another --out."
        )
    folder.lock()
    if overwrite and not resume:
        folder.clear()
        return None, []
    _same(folder.experiment(), experiment, folder.path)
    try:
        return folder.state()
    except CheckpointError:
        if list(folder.checkpoints.glob("*.ckpt")):
            raise
        folder.clear()  # stopped before its first checkpoint: there is nothing to go on from
        return None, []


def _same(stored: Experiment, wanted: Experiment, path: Path) -> None:
    before, after = _leaves(to_mapping(stored)), _leaves(to_mapping(wanted))
    ignored = ("about", "published", "scores", "variants", "training.threads")
    changed = [
        f"{key} was {before.get(key)!r}, now {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not key.startswith(ignored)
    ]
    if changed:
        raise RunError(
            f"{path} was trained with other settings: {'; '.join(changed)}. Resume with the same settings, or "
            "give another --out."
        )


def _leaves(value: Any, where: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {where: list(value) if isinstance(value, tuple) else value}
    leaves = {}
    for key, inner in value.items():
        leaves |= _leaves(inner, f"{where}.{key}" if where else key)
    return leaves


def _restore(
    state: dict[str, Any], method: Method, optimizers: Mapping[str, Any], experiment: Experiment
) -> int:
    try:
        method.load_state_dict(state["method"])
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
    except (RuntimeError, KeyError, ValueError) as problem:
        raise CheckpointError(
            f"The checkpoint does not fit the model that the configuration describes ({experiment.method['name']}, "
            f"width {experiment.model.width}): {str(problem).splitlines()[-1].strip()}"
        ) from problem
    return int(state["step"])


def _save(
    folder: RunFolder,
    experiment: Experiment,
    method: Method,
    optimizers: Mapping[str, Any],
    step: int,
    total: int,
) -> None:
    state = {
        "step": step,
        "total": total,
        "method": method.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
    }
    write_checkpoint(folder.checkpoints, state)


def _fabric(training: Training) -> Fabric:
    if training.threads:
        torch.set_num_threads(training.threads)
    fabric = Fabric(
        accelerator=training.accelerator,
        devices=training.devices,
        num_nodes=training.nodes,
        strategy=training.strategy,
        precision=training.precision,
    )
    fabric.launch()
    return fabric


def _set_rate(optimizer: Any, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _clip(fabric: Fabric, player: nn.Module, optimizer: Any, largest: float) -> Tensor:
    """The norm of the gradient, clipped if asked."""
    if largest > 0:
        return fabric.clip_gradients(player, optimizer, max_norm=largest)
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)
