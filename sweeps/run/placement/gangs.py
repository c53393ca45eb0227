"""The processes of a gang as Ray runs them: a worker leads, and starts a peer in each further bundle of its placement group.

A gang is one failure domain: when a peer is lost, the leader ends too, and Ray ends the peers of a leader that is gone. Another
gang then trains the cohort from its checkpoint.
"""

import os
import queue
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayTaskError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from sweeps.files import OWNER_ONLY
from sweeps.run.failures import XLA_ERRORS
from sweeps.run.losses import why_lost
from workers.cohort import OtherDevice, refuse_other_numerics
from workers.config import Program
from workers.contracts import Training
from workers.gangs import membership
from workers.gangs.lockstep import Follower, JointStep, Leader
from workers.trajectory import Identity, identify
from workers.workshop import Workshop

# After a peer is lost, a computation that waits for it ends with an error within milliseconds, unless the network is down.
GRACE_SECONDS = 10.0
LOSS_SECONDS = 3.0  # until Ray tells of a process that is gone


class PeerLost(ConnectionError):
    """A process of the gang is gone, with Ray's error as its cause."""

    def __init__(self, cause: RayActorError) -> None:
        super().__init__(f"a process of the gang was lost: {why_lost(cause)}")
        self.preempted = cause.preempted
        self.__cause__ = cause


class OtherPeer(OtherDevice):
    """A peer's processor or accelerator is of another kind than its leader's; ``node`` is the Ray id of its node."""

    def __init__(self, message: str, node: str) -> None:
        super().__init__(message)
        self.node = node


class Peer:
    """A process of a gang that follows its leader. SIGTERM means that its machine is being taken away."""

    def __init__(self, checkpoints: Path, data_dir: Path | None) -> None:
        os.umask(OWNER_ONLY)
        self._workshop = Workshop(checkpoints=checkpoints, data_dir=data_dir)
        self._follower = Follower(self._workshop.training)

    def join(self, coordinator: str, hosts: int, rank: int) -> None:
        """Join the gang."""
        membership.join_gang(coordinator, hosts, rank, ray.util.get_node_ip_address())
        signal.signal(signal.SIGTERM, lambda *_: self._workshop.leaving.set())

    def identity(self, program: Program) -> tuple[Identity, str]:
        """Return the identity of a program here, and the Ray id of this node."""
        return self._workshop.identity(program), ray.get_runtime_context().get_node_id()

    def take(self, step: JointStep) -> bool:
        """Take a step; return whether this process has to leave."""
        self._follower.take(step)
        return self._workshop.leaving.is_set()


class Gang:
    """The peers of this process, which leads them."""

    def __init__(self, checkpoints: Path, data_dir: Path | None, leave: Callable[[], None]) -> None:
        """Start the peers, and wait until all have joined.

        Args:
            leave: called when the machine of a peer is being taken away.

        Raises:
            NotJoined, ray.exceptions.RayError: a peer could not be started.
        """
        self._leave = leave
        self._why: Exception | None = None
        self._is_broken = threading.Event()
        self._told: queue.SimpleQueue[list[ray.ObjectRef]] = queue.SimpleQueue()
        self._leader = Leader(self._tell)
        group = ray.util.get_current_placement_group()
        assert group is not None
        hosts = group.bundle_count
        self._peers = [_started(group, rank, checkpoints, data_dir) for rank in range(1, hosts)]
        ray.get([peer.__ray_ready__.remote() for peer in self._peers])
        address = ray.util.get_node_ip_address()
        coordinator = membership.coordinator_at(address)
        joined = [peer.join.remote(coordinator, hosts, rank) for rank, peer in enumerate(self._peers, start=1)]
        membership.join_gang(coordinator, hosts, 0, address)
        ray.get(joined)
        threading.Thread(target=self._watch, daemon=True).start()

    def led(self, program: Program, training: Training) -> Training:
        """Return the training of a program that all processes of the gang take part in.

        Raises:
            WorkerMismatch: a peer would not compute the same states.
        """
        ours = identify(program, training)
        for theirs, node in ray.get([peer.identity.remote(program) for peer in self._peers]):
            try:
                refuse_other_numerics(ours, theirs)
            except OtherDevice as error:
                raise OtherPeer(str(error), node) from None
        return self._leader.led(program, training)

    def explained(self, error: Exception) -> Exception:
        """Return why a peer ended, if that may have caused an error of this process; else the error."""
        found = error
        if XLA_ERRORS & {kind.__name__ for kind in type(error).__mro__} and "RESOURCE_EXHAUSTED" not in str(error):
            self._is_broken.wait(GRACE_SECONDS)
            found = self._why or error
        return found.cause if isinstance(found, RayTaskError) else found

    def end(self) -> None:
        """End the peers."""
        for peer in self._peers:
            ray.kill(peer)

    def _tell(self, step: JointStep) -> None:
        sent = ray.put(step)
        self._told.put([peer.take.remote(sent) for peer in self._peers])

    def _watch(self) -> None:
        """Wait for the peers to have taken each step; end this process some time after one of them could not."""
        while self._why is None:
            told = self._told.get()
            try:
                if any(ray.get(told)):
                    self._leave()
            except Exception as error:
                self._why = _loss_among(told) or error
        self._is_broken.set()
        self.end()  # so that nothing here waits for a peer that is out of step
        threading.Event().wait(GRACE_SECONDS)
        os._exit(1)


def _loss_among(told: list[ray.ObjectRef]) -> PeerLost | None:
    """Return the loss of a peer among the answers to a step, which also causes errors in the other peers."""
    answered, _ = ray.wait(told, num_returns=len(told), timeout=LOSS_SECONDS)
    for answer in answered:
        try:
            ray.get(answer)
        except RayActorError as error:
            return PeerLost(error)
        except Exception:
            continue
    return None


def _started(group: PlacementGroup, rank: int, checkpoints: Path, data_dir: Path | None) -> ActorHandle:
    """Start the peer of a rank, with all that its bundle holds."""
    held = dict(group.bundle_specs[rank])
    peer: ActorHandle = (
        ray.remote(Peer)
        .options(
            num_cpus=held.pop("CPU", 0),
            num_gpus=held.pop("GPU", 0),
            resources=held,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, rank),
        )
        .remote(checkpoints, data_dir)
    )
    return peer
