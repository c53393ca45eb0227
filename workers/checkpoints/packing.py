"""A checkpoint's folder as one object: a line with the sha256 of the rest, then a tar archive of its files.

The digest is checked before the archive is parsed, so that damaged bytes never reach the parser.
"""

import hashlib
import io
import tarfile
import time
from collections.abc import Mapping
from pathlib import PurePosixPath

from workers.checkpoints.local import CheckpointDamaged


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return files, by their relative paths, as one object; two packs of the same files differ, as they hold the time."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), time.time()
            tar.addfile(member, io.BytesIO(content))
    content = archive.getvalue()
    return _header(content) + content


def unpack(content: bytes, where: str) -> Mapping[str, bytes]:
    """Return the files in an object by their relative paths; ``where`` names it in errors.

    Raises:
        CheckpointDamaged: its digest does not match, or it holds what no checkpoint does, such as a path out of its folder.
    """
    header, _, archive = content.partition(b"\n")
    if header + b"\n" != _header(archive):
        raise CheckpointDamaged(f"checkpoint {where}: its bytes do not match their digest")
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            path, file = PurePosixPath(member.name), tar.extractfile(member)
            if file is None or not member.isreg() or path.is_absolute() or ".." in path.parts:
                raise CheckpointDamaged(f"checkpoint {where}: must hold files below its folder, got {member.name!r}")
            files[member.name] = file.read()
    return files


def _header(archive: bytes) -> bytes:
    return b"abel-checkpoint sha256:" + hashlib.sha256(archive).hexdigest().encode() + b"\n"
