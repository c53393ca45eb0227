"""Errors for libraries that fail to import."""

from __future__ import annotations

from workers.data import DataError


def import_failure(user: str, package: str, error: ImportError, install: str) -> DataError:
    """Return the error for a library that does not import: it is not installed, or the reason why it fails.

    Args:
        user: what needs the library, such as "data atari: pong".
        package: its name on PyPI; its module has the same, with underscores.
        error: of the import. One that names another module comes from inside the library.
        install: what pip installs.
    """
    if isinstance(error, ModuleNotFoundError) and error.name == package.replace("-", "_"):
        return DataError(f"{user} needs {package}, which is not installed: pip install {install}")
    reason = f"{type(error).__name__}: {error}"
    return DataError(f"{user} needs {package}, which is installed but cannot be imported: {reason}")
