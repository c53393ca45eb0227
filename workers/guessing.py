"""The error of guessing, assigned to diverged trials wherever trials are compared."""


def error_of_guessing(classes: int) -> float:
    """Return the test error of guessing one of ``classes`` classes, in percent."""
    return 100 * (1 - 1 / classes)
