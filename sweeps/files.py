"""Files and folders that a user names: where a path leads, what is read of it, and who may read what is made."""

import codecs
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeps.errors import shown

OWNER_ONLY = 0o077  # the umask that leaves nothing to group and others
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
KINDS = {stat.S_IFDIR: "directory", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}


class PathFault(ValueError):
    """A path that leads nowhere, or to what cannot be used; the message has the rule and the value, not the path's role."""


def resolve(text: str | Path) -> Path:
    """The absolute path that a user's text names; what it leads to need not exist.

    Raises:
        PathFault: nothing can be or come to be there.
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
    """The content of a regular file of at most so many bytes.

    Raises:
        PathFault: it is something else, or larger.
        OSError: it cannot be read.
    """
    # Without O_NONBLOCK a pipe that nobody writes to would hold the command for ever.
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
    """UTF-8 text, or UTF-16 with a byte order mark, which PowerShell writes.

    Raises:
        UnicodeDecodeError: it is neither.
    """
    return content.decode(next((name for mark, name in BOMS if content.startswith(mark)), "utf-8"))


def named(path: str | Path) -> str:
    """A path as an error begins with it: as it was given, where that is a line of text."""
    text = str(path)
    return text if text.isprintable() and len(text) <= 200 else shown(text)


def make_private(folder: Path) -> None:
    """Create a folder that only its owner may enter, whatever the umask. One that exists keeps its mode.

    Raises:
        OSError: it cannot be made.
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
    """What this process and its children create meanwhile, nobody but its owner may read."""
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
        raise PathFault(f"must be a path that can be followed, got {shown(str(path))}: {error.strerror}") from None
