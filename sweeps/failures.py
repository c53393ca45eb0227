"""What can go wrong while a cohort trains, and what is done about each: the classes of failure and their retry policy.

Divergence is not among them: a loss that is no longer finite is a result.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class FailureClass(StrEnum):
    """Whose fault it was, which decides what is done next."""

    USER = "user"  # the program raises: it would again
    OUT_OF_MEMORY = "out_of_memory"
    INFRASTRUCTURE = "infrastructure"  # a process or machine died, a file or network failed
    PREEMPTED = "preempted"  # the machine was taken away, as was agreed
    NO_SPACE = "no_space"  # the sweep stops as a whole, until there is room
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often a cohort is taken up again without having come further, and after which pause.

    A preemption is no failure and is not counted. Infrastructure comes back, but a program that kills its process looks
    the same, so patience ends; a cohort that records an epoch has it anew.
    """

    out_of_memory: int = 1
    infrastructure: int = 10
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 15.0

    def allows(self, failure: FailureClass, tries: int) -> bool:
        """Whether a cohort that was taken up ``tries`` times since it last came further is taken up once more."""
        match failure:
            case FailureClass.PREEMPTED | FailureClass.NO_SPACE:
                return True
            case FailureClass.INFRASTRUCTURE:
                return tries < self.infrastructure
            case FailureClass.OUT_OF_MEMORY:
                return tries < self.out_of_memory
            case _:
                return False

    def pause(self, failure: FailureClass, tries: int) -> float:
        """Seconds until then: nothing the first time, for most losses are of one process, then doubling."""
        if failure is not FailureClass.INFRASTRUCTURE or tries == 0:
            return 0.0
        return min(self.longest_pause_seconds, self.first_pause_seconds * 2.0 ** min(tries - 1, 20))


FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FULL_TEXTS = ("no space left on device", "disk quota exceeded", "database or disk is full", "could not extend file")
MEMORY_TEXTS = ("resource_exhausted", "out of memory", "outofmemoryerror")


def classify(error: BaseException) -> FailureClass:
    """The class of an exception, by itself and by what caused it."""
    for link in _chain(error):
        text = f"{type(link).__name__}: {link}".lower()
        if (isinstance(link, OSError) and link.errno in FULL) or any(known in text for known in FULL_TEXTS):
            return FailureClass.NO_SPACE
        if isinstance(link, MemoryError) or any(known in text for known in MEMORY_TEXTS):
            return FailureClass.OUT_OF_MEMORY
        if isinstance(link, OSError) or type(link).__module__.startswith("ray."):
            return FailureClass.INFRASTRUCTURE
    return FailureClass.USER


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
