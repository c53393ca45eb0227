"""What a worker process keeps between cohorts, so it neither reads data nor compiles twice."""

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from workers.checkpoints import open_checkpoints
from workers.config import Program
from workers.contracts import Training
from workers.trajectory import Identity, identify


class Workshop:
    """Data sets, compiled trainings and checkpoints of one worker process."""

    def __init__(
        self,
        *,
        checkpoints: Path,
        data_dir: Path | None,
        store: str | None = None,
        save_every_seconds: float = 120.0,
        allow_nondeterminism: bool = False,
        led: Callable[[Program, Training], Training] | None = None,
    ) -> None:
        """``led`` turns a program's training by this process into that of its gang; None for a process that trains alone."""
        self.checkpoints = open_checkpoints(checkpoints, store)
        self.save_every_seconds = save_every_seconds
        self.allow_nondeterminism = allow_nondeterminism
        # Set when this process is about to be stopped: training goes on to the next state that can be saved, and stops.
        self.leaving = threading.Event()
        self.training = cache(self._build)
        self.identity = cache(self._identify)
        self._load = cache(self._loaded)
        self._data_dir = data_dir
        self._led = led

    def _build(self, program: Program) -> Training:
        alone = program.task.build(program, self._load)
        return alone if self._led is None else self._led(program, alone)

    def _loaded(self, data: Any) -> Any:
        return data.load(self._data_dir)

    def _identify(self, program: Program) -> Identity:
        return identify(program, self.training(program))
