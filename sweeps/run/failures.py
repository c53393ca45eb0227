"""Classification of failures by cause, which determines whether a retry can help, and the retry policy of each class.

Only types and texts of exceptions are examined: neither JAX nor Ray is imported here. Both wrap system errors in their own, so
the whole chain of causes is searched.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
# Orbax and tensorstore quote the system's message in a ValueError, with the status that JAX uses for a lack of memory.
# SQLite and PostgreSQL have their own messages.
FULL_TEXTS = (
    *("No space left on device", "Disk quota exceeded"),
    *("database or disk is full", "could not extend file"),
)
# If a worker dies before its actor starts, Ray raises no OutOfMemoryError but another error with the memory monitor's message.
MONITOR_TEXTS = ("NODE_OUT_OF_MEMORY", "OOM kill reason", "due to the node running low on memory")
XLA_ERRORS = frozenset(("XlaRuntimeError", "JaxRuntimeError"))


class FailureClass(StrEnum):
    """Why a cohort stopped before its end."""

    USER = "user"  # the program itself: a retry would fail again
    OUT_OF_MEMORY = "out_of_memory"
    INFRASTRUCTURE = "infrastructure"  # the machine, which may be of another kind, the network, Ray
    PREEMPTED = "preempted"  # the machine was taken away, with or without notice
    NO_SPACE = "no_space"  # the disk is full, and nothing else is wrong


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often a cohort is retried without progress, and after which pause.

    A preemption is not a failure and is not counted. Infrastructure recovers, but a program that kills its own process looks
    the same, so retries are limited; recording an epoch resets the count. A cohort that ran out of memory is retried alone, as
    other cohorts may have used the memory.
    """

    infrastructure: int = 10
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 15.0

    def allows(self, failure: FailureClass, tries: int, *, alone: bool) -> bool:
        """Whether to retry a cohort after ``tries`` retries without progress; ``alone`` if it already ran alone."""
        match failure:
            case FailureClass.PREEMPTED | FailureClass.NO_SPACE:
                return True
            case FailureClass.INFRASTRUCTURE:
                return tries < self.infrastructure
            case FailureClass.OUT_OF_MEMORY:
                return not alone or tries == 0
            case _:
                return False

    def pause(self, failure: FailureClass, tries: int) -> float:
        """Return the seconds before a retry: 0 the first time, as most losses affect one process, then doubling."""
        if failure is not FailureClass.INFRASTRUCTURE or tries == 0:
            return 0.0
        return min(self.longest_pause_seconds, self.first_pause_seconds * 2.0 ** min(tries - 1, 20))


def classify(error: BaseException) -> FailureClass:
    """Return the class of an exception. A lack of space or memory counts anywhere in the chain of causes."""
    chain = list(_causes(error))
    if any(_no_space(link) for link in chain):
        return FailureClass.NO_SPACE
    if any(_out_of_memory(link) for link in chain):
        return FailureClass.OUT_OF_MEMORY
    # Otherwise only the raised exception counts: code that catches an OSError and raises another error has handled it.
    raised = next(link for link in chain if not _wraps(link))
    if getattr(raised, "preempted", False):
        return FailureClass.PREEMPTED
    if isinstance(raised, OSError) or _is_from_ray(raised) or "OtherDevice" in _names(raised):
        return FailureClass.INFRASTRUCTURE
    return FailureClass.USER


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if _wraps(error):
            error = getattr(error, "cause", None)
        else:
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _no_space(error: BaseException) -> bool:
    full = isinstance(error, OSError) and error.errno in FULL
    return full or "OutOfDiskError" in _names(error) or any(text in str(error) for text in FULL_TEXTS)


def _out_of_memory(error: BaseException) -> bool:
    names = _names(error)
    by_xla = bool(names & XLA_ERRORS) and "RESOURCE_EXHAUSTED" in str(error)
    by_monitor = _is_from_ray(error) and any(text in str(error) for text in MONITOR_TEXTS)
    return by_xla or by_monitor or isinstance(error, MemoryError) or "OutOfMemoryError" in names


def _wraps(error: BaseException) -> bool:
    """Whether this is Ray's wrapper around an exception of a remote function; it may also be an instance of its cause's type."""
    return "RayTaskError" in _names(error) and isinstance(getattr(error, "cause", None), BaseException)


def _is_from_ray(error: BaseException) -> bool:
    return any(kind.__module__.partition(".")[0] == "ray" for kind in type(error).__mro__)


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
