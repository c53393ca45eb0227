"""Sweeps that were submitted to a site, and the loss of each of its parts."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil
import requests
from sites import NODES, Site, node_name

from services.server.jobs import JobsAway
from services.server.ray_jobs import RayJobs
from sweeps.ledger.database import LedgerError
from sweeps.ledger.leases import Holder
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.submissions.queue import Submissions

PATIENCE_SECONDS = 240
LOOK_SECONDS = 0.5


@dataclass
class Watched:
    """The submitted sweeps, as their ledger and their jobs show them."""

    parts: Site
    ledger: Ledger
    queue: Submissions
    jobs: RayJobs
    ids: Mapping[str, str]  # submissions by the name of the sweep

    def covered(self) -> dict[str, int]:
        """How many epochs of each sweep are recorded."""
        ids = {sweep.name: sweep.id for sweep in self.ledger.sweeps()}
        return {
            name: sum(row.epoch for row in self.ledger.trials(ids[name])) if name in ids else 0 for name in self.ids
        }

    def wait_until(self, what: str, holds: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < until, f"{what} did not come about: {self.told()}"
            time.sleep(LOOK_SECONDS)

    def wait_for_progress(self, since: Mapping[str, int]) -> None:
        """Wait until each of these sweeps is further than it was; none may end before the parts are back."""
        self.wait_until(f"progress beyond {since}", lambda: self._is_beyond(since))
        assert not [name for name, id in self.ids.items() if self.queue.submission(id).outcome is not None], self.told()

    def _is_beyond(self, since: Mapping[str, int]) -> bool:
        now = self.covered()
        return all(now[name] > epochs for name, epochs in since.items())

    def told(self) -> str:
        """What service and jobs printed, for a failure."""
        logs = {name: self.log(name) for name in self.ids}
        return "\n".join([f"service: {self.parts.service.said}", *(f"{name}: {log}" for name, log in logs.items())])

    def log(self, name: str) -> str:
        """The end of what a sweep's last job printed, or why nobody can tell."""
        try:
            return self.jobs.output(self.ids[name], self.queue.submission(self.ids[name]).launches)
        except (LedgerError, JobsAway) as error:
            return str(error)

    # The loss of each part: kill it, start it again; when it was back, and what must go on since then

    def lose_node(self) -> tuple[float, Mapping[str, int]]:
        workers = {number: len(self._at_work(number)) for number in range(NODES)}
        number = max(workers, key=lambda number: workers[number])
        self.parts.kill(node_name(number))
        self.parts.join(number)
        return time.monotonic(), self.covered()

    def _at_work(self, number: int) -> set[int]:
        """The processes of a node that trained what is recorded last."""
        heads = [row.head for sweep in self.ledger.sweeps() for row in self.ledger.trials(sweep.id) if row.head]
        trained = {int(state.worker.rpartition(":")[2]) for state in self.ledger.states(set(heads)).values()}
        return trained & {process.pid for process in self.parts.nodes[number].processes()}

    def lose_driver(self) -> tuple[float, Mapping[str, int]]:
        name = next(iter(self.ids))
        before = self.queue.submission(self.ids[name])
        assert before.holder is not None
        job = psutil.Process(Holder.read(before.holder).pid)
        driver = [child for child in job.children() if "sweeps.run.driver_process" in child.cmdline()]
        for process in (job, *driver):
            process.kill()
        killed_at = time.monotonic()
        self.wait_until("another job", lambda: self.queue.submission(before.id).launches > before.launches)
        print(f"a driver: started again {time.monotonic() - killed_at:.1f} s after its death")
        return time.monotonic(), {name: self.covered()[name]}

    def lose_service(self) -> tuple[float, Mapping[str, int]]:
        self.parts.service.process.kill()
        self.parts.service.process.wait()
        self.wait_for_progress(self.covered())  # the sweeps do not need it
        self.parts.serve()
        return time.monotonic(), self.covered()

    def lose_postgres(self) -> tuple[float, Mapping[str, int]]:
        numbers = {id: self.queue.submission(id).launches for id in self.ids.values()}
        self.parts.kill_postgres()
        self.wait_until("503", lambda: requests.get(f"{self.parts.service_url}/readyz", timeout=60).status_code == 503)
        for id, number in numbers.items():
            self.wait_until("the wait", lambda id=id, number=number: "waiting for it" in self.jobs.output(id, number))
        self.parts.run_postgres()
        return time.monotonic(), self.covered()

    def lose_head(self) -> tuple[float, Mapping[str, int]]:
        since = self.covered()
        self.parts.kill("head")
        self.parts.start_head()
        back_at = time.monotonic()
        left = dict(self.parts.nodes)
        while left:  # a node ends without its head, and is started again, as a container is
            self.wait_until("the end of a node", lambda: any(not node.processes() for node in left.values()))
            number = next(number for number, node in left.items() if not node.processes())
            print(f"the head: {node_name(number)} ended {time.monotonic() - back_at:.1f} s after its return")
            self.parts.kill(node_name(number))
            self.parts.join(number)
            del left[number]
        return back_at, since
