"""What a worker process keeps between cohorts, so it neither reads data nor compiles twice."""

import threading
from functools import cache
from pathlib import Path

from workers.checkpoints import Checkpoints
from workers.config import Data, Program
from workers.data import Dataset
from workers.tasks import Training
from workers.trajectory import Identity, identify


class Workshop:
    """Data sets, compiled trainings and checkpoints of one worker process."""

    def __init__(
        self,
        *,
        checkpoints: Path,
        data_dir: Path | None,
        save_every_seconds: float = 120.0,
        allow_nondeterminism: bool = False,
    ) -> None:
        self.checkpoints = Checkpoints(checkpoints)
        self.save_every_seconds = save_every_seconds
        self.allow_nondeterminism = allow_nondeterminism
        # Set when this process is about to be stopped: training finishes the current epoch, saves and stops.
        self.leaving = threading.Event()
        self.dataset = cache(self._load)
        self.training = cache(self._build)
        self.identity = cache(self._identify)
        self._data_dir = data_dir

    def _load(self, data: Data) -> Dataset:
        return data.load(self._data_dir)

    def _build(self, program: Program) -> Training:
        return program.task.build(program, self.dataset(program.data))

    def _identify(self, program: Program) -> Identity:
        return identify(program, self.dataset(program.data))
