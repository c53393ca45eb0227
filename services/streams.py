"""The standard streams of the command: output that cannot be written neither stops it nor changes what it did.

A stream that fails once is silent from then on, e.g. after its reader exits, its terminal closes or its disk fills up.
Characters that its encoding lacks are replaced.
"""

import codecs
import errno
import io
import os
import select
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

from rich.console import Console

from services.encoding import to_json

NO_OUTPUT = 74  # EX_IOERR of sysexits.h
REPLACE = "abel-replace"
NEAREST = {"…": "...", "—": "-", "–": "-", "×": "x", "±": "+-", "·": ".", "→": "->", "≤": "<=", "≥": ">="}


class Standard(io.RawIOBase):
    """A standard descriptor, written unbuffered and without raising; `fault` is the error that silenced it."""

    def __init__(self, descriptor: int, fault: OSError | None = None) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.fault = fault

    def writable(self) -> bool:
        """Always true: what is written to a silent stream is discarded."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, data: "bytes | memoryview") -> int:  # type: ignore[override]
        """Write everything, or fall silent."""
        left = memoryview(data)
        while left and self.fault is None:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # another program made the pipe non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.fault = error
                _silence(self._descriptor)
        return len(data)


def guard() -> None:
    """Replace standard output and standard error with streams that never raise."""
    codecs.register_error(REPLACE, _replaced)
    closed = _open_closed()
    sys.stdout, sys.stderr = _guarded(sys.stdout, 1, closed), _guarded(sys.stderr, 2, closed)


def console(*, error: bool = False) -> Console:
    """A console on a standard stream; it draws with the characters of the stream's encoding."""
    return Console(file=sys.stderr if error else sys.stdout)


def write(text: str) -> None:
    """Print a text unchanged on standard output."""
    sys.stdout.write(text)
    sys.stdout.flush()


def write_json(value: object) -> None:
    """Print a value as JSON on standard output; characters that the stream lacks are escaped."""
    text = to_json(value) + "\n"
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = to_json(value, ascii_only=True) + "\n"
    write(text)


def forgive() -> None:
    """Record that the command has done its work, whether or not its output arrives."""
    if (stream := _standard(sys.stdout)) is not None:
        stream.fault = None


def exit_code(code: int) -> int:
    """The exit code for a command's own: not 0 if the command's only purpose was output and that could not be written.

    A reader that exits early, as `head` does, has what it wanted.
    """
    stream = _standard(sys.stdout)
    fault = stream.fault if stream else None
    if code != 0 or fault is None or fault.errno == errno.EPIPE:
        return code
    console(error=True).print(f"error: standard output: cannot be written: {fault.strerror}", soft_wrap=True)
    return NO_OUTPUT


def _guarded(stream: TextIO | None, descriptor: int, closed: Sequence[int]) -> TextIO:
    fault = OSError(errno.EBADF, os.strerror(errno.EBADF)) if descriptor in closed else None
    encoding = stream.encoding if stream is not None else "utf-8"
    # Unbuffered: a signal handler may print while something is being printed.
    return io.TextIOWrapper(
        Standard(descriptor, fault),  # type: ignore[type-var]
        encoding,
        errors=REPLACE,
        newline="\n",
        write_through=True,
    )


def _standard(stream: TextIO) -> Standard | None:
    raw = getattr(stream, "buffer", None)
    return raw if isinstance(raw, Standard) else None


def _open_closed() -> Sequence[int]:
    """Open the null device on every closed standard descriptor; otherwise the next file opened would get its number."""
    closed = [descriptor for descriptor in (0, 1, 2) if not _is_open(descriptor)]
    for descriptor in closed:
        _to_null(descriptor)
    return closed


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _silence(failed: int) -> None:
    """Redirect the failed stream, and its twin under `2>&1`, to the null device, for child processes too."""
    with suppress(OSError):
        twins = [other for other in (1, 2) if os.path.sameopenfile(failed, other)]
        for descriptor in twins:
            _to_null(descriptor)


def _to_null(descriptor: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened == descriptor:
        os.set_inheritable(opened, True)
    else:
        os.dup2(opened, descriptor)
        os.close(opened)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Replacements for characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(NEAREST.get(character, "?") for character in error.object[error.start : error.end]), error.end
