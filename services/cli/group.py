"""How the command fails: one error on standard error, with --json also on standard output, and an exit code."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from services import streams
from services.cli import rendering
from services.schemas import Failure

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
BROKE_DOWN = 1
STOPPED = "Stopped; saved work is kept. The same command resumes it."


class Commands(TyperGroup):
    """Print an input or machine error once, without a traceback, and exit with 2 or 1."""

    _as_json = False

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        """Run a command line."""
        given = sys.argv[1:] if args is None else list(args)
        self._as_json = "--json" in given[: given.index("--")] if "--" in given else "--json" in given
        try:
            return super().main(given, *more, **extra)
        except Exception as error:  # a bug: Python prints its traceback
            fail(broke_down(error, BROKE_DOWN), self._as_json)
            raise

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """Read the options before the command."""
        with self._usage_as_json():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with self._usage_as_json():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            streams.console(error=True).print(STOPPED)
            fail(Failure(kind="interrupted", message=STOPPED, exit_code=INTERRUPTED), self._as_json)
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if (failure := on_purpose(error)) is None:
                raise
            give_up(error, failure, self._as_json)

    @contextmanager
    def _usage_as_json(self) -> Iterator[None]:
        try:
            yield
        except typer.TyperException as error:  # Typer prints it
            fail(Failure(kind="usage", message=error.format_message(), exit_code=error.exit_code), self._as_json)
            raise


def fail(failure: Failure, as_json: bool) -> None:
    """With --json, print why the command failed."""
    if as_json:
        streams.write_json({"error": failure})


def give_up(error: Exception, failure: Failure, as_json: bool) -> NoReturn:
    """Print an input or machine error, and exit."""
    streams.console(error=True).print(rendering.error(error), soft_wrap=True)
    fail(failure, as_json)
    raise typer.Exit(failure.exit_code) from None


def broke_down(error: Exception, exit_code: int) -> Failure:
    """The failure of a command that hit a bug."""
    return Failure(kind="internal", message=f"{type(error).__name__}: {error}", exit_code=exit_code)


def on_purpose(error: Exception) -> Failure | None:
    """The failure behind an input or machine error; None for any other error."""
    from services.refusals import INPUT_ERRORS, MACHINE_ERRORS
    from sweeps.errors import SpecError

    found = next((base for base in INPUT_ERRORS + MACHINE_ERRORS if isinstance(error, base)), None)
    if found is None:
        return None
    return Failure(
        kind=found.__name__.removesuffix("Error").lower(),
        message=str(error),
        exit_code=BAD_INPUT if isinstance(error, INPUT_ERRORS) else FAILED,
        faults=tuple(error.told) if isinstance(error, SpecError) else (),
    )
