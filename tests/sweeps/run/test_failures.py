import errno
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import pytest
from ray import exceptions

from sweeps.run.failures import FailureClass, classify
from workers.cohort import OtherDevice, WorkerMismatch


def caught(raising: Callable[..., Any]) -> Exception:
    with pytest.raises(Exception) as info:
        raising()
    return info.value


def test_a_full_disk_is_no_space_wherever_it_stands_in_the_chain() -> None:
    def wrapped(full: Exception) -> None:
        try:
            raise full
        except OSError as error:
            raise ValueError("cannot save") from error

    def beside() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            int("no number")

    assert classify(OSError(errno.ENOSPC, "No space left on device")) is FailureClass.NO_SPACE
    assert classify(caught(lambda: wrapped(OSError(errno.EDQUOT, "Disk quota exceeded")))) is FailureClass.NO_SPACE
    assert classify(caught(beside)) is FailureClass.NO_SPACE


def test_the_words_of_a_library_that_met_a_full_disk_are_no_space() -> None:
    text = "RESOURCE_EXHAUSTED: Error writing local file: write failed [OS error 28: ENOSPC No space left on device]"
    assert classify(ValueError(text)) is FailureClass.NO_SPACE
    assert classify(exceptions.OutOfDiskError("spilling failed")) is FailureClass.NO_SPACE


def test_what_xla_cannot_allocate_is_out_of_memory() -> None:
    assert classify(caught(lambda: jnp.zeros(2**50).block_until_ready())) is FailureClass.OUT_OF_MEMORY
    assert classify(MemoryError()) is FailureClass.OUT_OF_MEMORY
    assert classify(exceptions.OutOfMemoryError("killed by the raylet")) is FailureClass.OUT_OF_MEMORY


def test_a_kill_by_the_memory_monitor_is_out_of_memory() -> None:
    text = "The actor is dead because its worker process has died. Worker exit type: NODE_OUT_OF_MEMORY Worker exit"
    assert classify(exceptions.RayActorError(error_msg=text)) is FailureClass.OUT_OF_MEMORY
    assert classify(exceptions.RayActorError(error_msg="Worker exit type: SYSTEM_ERROR")) is FailureClass.INFRASTRUCTURE


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        ConnectionResetError("peer"),
        TimeoutError(),
        exceptions.RayActorError(),
        exceptions.ObjectLostError("00", "owner", "stack"),
    ],
)
def test_machine_network_and_ray_are_infrastructure(error: Exception) -> None:
    assert classify(error) is FailureClass.INFRASTRUCTURE


def test_only_a_mismatch_of_machines_is_infrastructure() -> None:
    assert classify(OtherDevice("device: cpu: a, cpu: b")) is FailureClass.INFRASTRUCTURE
    assert classify(WorkerMismatch("code: a, b")) is FailureClass.USER


def test_a_node_that_was_taken_away_is_a_preemption() -> None:
    assert classify(exceptions.RayActorError(preempted=True)) is FailureClass.PREEMPTED


@pytest.mark.parametrize("error", [ValueError("shapes"), KeyError("a"), ZeroDivisionError()])
def test_everything_else_is_the_users(error: Exception) -> None:
    assert classify(error) is FailureClass.USER


def test_code_that_dealt_with_an_os_error_raises_its_own() -> None:
    def dealt_with() -> None:
        try:
            raise FileNotFoundError("settings.toml")
        except OSError as error:
            raise ValueError("settings.toml: must be there") from error

    assert classify(caught(dealt_with)) is FailureClass.USER


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (ValueError("theirs"), FailureClass.USER),
        (OSError(errno.ENOSPC, "No space left on device"), FailureClass.NO_SPACE),
        (ConnectionError(), FailureClass.INFRASTRUCTURE),
    ],
)
def test_what_ray_wraps_is_classed_by_what_it_wraps(cause: Exception, kind: Any) -> None:
    wrapped = exceptions.RayTaskError("step", "traceback", cause)
    assert classify(wrapped) is kind
    assert classify(wrapped.as_instanceof_cause()) is kind


def test_a_cause_that_is_its_own_cause_ends() -> None:
    error, other = ValueError("a"), ValueError("b")
    error.__cause__, other.__cause__ = other, error
    assert classify(error) is FailureClass.USER
