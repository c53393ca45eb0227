"""The error of guessing: what a diverged trial counts as, wherever trials are compared."""


def error_of_guessing(classes: int) -> float:
    """The test error of guessing one of so many classes, in percent."""
    return 100 * (1 - 1 / classes)
