"""The retry policy of each class of failure: how often a cohort is retried, and after which pause."""

from dataclasses import dataclass

from sweeps.run.failures import FailureClass


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
