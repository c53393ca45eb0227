"""Files and folders named by a user: path resolution, size-limited reads, private permissions."""

import codecs
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeps.errors import shown

OWNER_ONLY = 0o077  # the umask that denies group and others all access
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
KINDS = {stat.S_IFDIR: "directory", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}


class PathFault(ValueError):
    """An unusable path; the message has the rule and the value but not what the path is for."""


def resolve(text: str | Path) -> Path:
    """Return the absolute path for a user's text; the target need not exist.

    Raises:
        PathFault: no file or folder can exist at the path.
    """
    given = str(text)
    if "\0" in given:
        raise PathFault(f"must not contain a NUL character, got {shown(given)}")
    if any("\ud800" <= character <= "\udfff" for character in given):
        raise PathFault(f"must be Unicode text, got {shown(given)}")
    try:
        path = Path(given).expanduser()
    except RuntimeError:
        raise PathFault(f"must begin with the home directory of a known user, got {shown(given)}") from None
    try:
        path = Path(os.path.abspath(path))
    except FileNotFoundError:
        raise PathFault(f"must be absolute, as the working directory is gone, got {shown(given)}") from None
    _must_lead_somewhere(path)
    return path


def read_file(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most ``most`` bytes.

    Raises:
        PathFault: it is not a regular file, or is larger.
        OSError: it cannot be read.
    """
    # Without O_NONBLOCK, opening a pipe without a writer would block forever.
    opened = os.open(resolve(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            raise PathFault(f"must be a regular file, got a {KINDS.get(stat.S_IFMT(status.st_mode), 'device')}")
        with open(opened, "rb", closefd=False) as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise PathFault(f"must have at most {most} bytes, got {max(status.st_size, len(content))}")
        return content
    finally:
        os.close(opened)


def decode_text(content: bytes) -> str:
    """Decode UTF-8, or UTF-16 with a byte order mark, which PowerShell writes.

    Raises:
        UnicodeDecodeError: the content is neither.
    """
    return content.decode(next((name for mark, name in BOMS if content.startswith(mark)), "utf-8"))


def named(path: str | Path) -> str:
    """Return a path as the prefix of an error: as given if it is printable and short, else quoted and truncated."""
    text = str(path)
    return text if text.isprintable() and len(text) <= 200 else shown(text)


def make_private(folder: Path) -> None:
    """Create a folder that only its owner may enter, regardless of the umask. An existing folder keeps its mode.

    Raises:
        OSError: it cannot be created.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        folder.chmod(0o700)


_lock = threading.Lock()
_users = 0
_umask = 0


@contextmanager
def private() -> Iterator[None]:
    """Make files that this process and its children create in the meantime readable by their owner only."""
    global _users, _umask
    with _lock:
        _users += 1
        if _users == 1:
            _umask = os.umask(OWNER_ONLY)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                os.umask(_umask)


def _must_lead_somewhere(path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError:
        for place in (path, *path.parents):
            if place.is_symlink() and not place.exists():
                raise PathFault(f"must not lead through a broken link, got {place} -> {os.readlink(place)}") from None
    except NotADirectoryError:
        file = next((place for place in path.parents if place.is_file()), path.parent)
        raise PathFault(f"must be below a directory, but {file} is a file") from None
    except OSError as error:
        raise PathFault(f"must be an accessible path, got {shown(str(path))}: {error.strerror}") from None
