"""What is done about each class of failure: how often a cohort is taken up again, and after which pause."""

from dataclasses import dataclass

from sweeps.run.failures import FailureClass


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often a cohort is taken up again without having come further, and after which pause.

    A preemption is no failure and is not counted. Infrastructure comes back, but a program that kills its process looks
    the same, so patience ends; a cohort that records an epoch has it anew. One that ran out of memory is tried again alone:
    what took the memory may have been its neighbours.
    """

    infrastructure: int = 10
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 15.0

    def allows(self, failure: FailureClass, tries: int, *, alone: bool) -> bool:
        """Whether a cohort is taken up once more that was ``tries`` times since it last came further, or is ``alone`` already."""
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
        """Seconds until then: nothing the first time, for most losses are of one process, then doubling."""
        if failure is not FailureClass.INFRASTRUCTURE or tries == 0:
            return 0.0
        return min(self.longest_pause_seconds, self.first_pause_seconds * 2.0 ** min(tries - 1, 20))
