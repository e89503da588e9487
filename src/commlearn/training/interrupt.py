"""Ctrl-C, SIGTERM and callbacks: a checkpoint first, then the end that was asked for."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CALLBACK = 1  # who asked: a number below those of the signals that are handled here


class Interrupt:
    """Turns Ctrl-C and SIGTERM into a checkpoint after the step in progress."""

    def __init__(self) -> None:
        self.asked = 0
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
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

    def agreed(self, fabric: Fabric, due: bool, enough: bool = False) -> bool:
        """Whether to stop: what any rank was asked, all do.

        Args:
            fabric: the engine.
            due: whether ranks talk about it now, the same on all of them; a single one needs no talk.
            enough: a callback of this rank asks to stop.
        """
        if enough:
            self.asked = self.asked or CALLBACK
        if fabric.world_size > 1:
            if not due:
                return False
            most: Any = fabric.all_reduce(torch.tensor(float(self.asked)), reduce_op="max")
            self.asked = int(most)
        return bool(self.asked)

    @property
    def signalled(self) -> bool:
        """Whether the end that was asked for is that of the program."""
        return self.asked > CALLBACK

    def error(self) -> BaseException:
        return KeyboardInterrupt() if self.asked == signal.SIGINT else SystemExit(128 + self.asked)
