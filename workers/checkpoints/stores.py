"""Objects under one URL of an object store, created and replaced conditionally; the only module that imports obstore.

Credentials and endpoints come from the environment of each process, by the variables that other tools use:
``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``, ``AWS_ENDPOINT_URL``; ``GOOGLE_APPLICATION_CREDENTIALS``,
``GOOGLE_SERVICE_ACCOUNT``. On AWS and Google Cloud a machine's own role works without any.
"""

import mimetypes
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url

from workers.checkpoints.local import StoreError

if TYPE_CHECKING:
    from obstore import ObjectMeta, UpdateVersion
    from obstore.store import ClientConfig, RetryConfig

SCHEMES = ("s3", "gs")

# obstore retries what the server may yet answer. Objects of some 100 MB travel in one request, so it may last.
_RETRY: "RetryConfig" = {"max_retries": 6, "retry_timeout": timedelta(seconds=60)}
# Without TLS only where the environment names such an endpoint.
_CLIENT: "ClientConfig" = {
    "timeout": timedelta(seconds=600),
    "connect_timeout": timedelta(seconds=10),
    "allow_http": True,
}


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One version of an object, as an answer of the store names it; ``size`` is in bytes."""

    name: str
    size: int
    etag: str | None
    generation: str | None

    @classmethod
    def of(cls, meta: "ObjectMeta") -> "Stored":
        """Return the version that an answer describes."""
        return cls(name=meta["path"], size=meta["size"], etag=meta["e_tag"], generation=meta["version"])


class ObjectStore:
    """The objects under a URL. Names are relative to it; every method raises :class:`StoreError` if the store fails."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        with _reported(self.url):
            self._store = from_url(self.url, client_options=_CLIENT, retry_config=_RETRY)

    def head(self, name: str) -> Stored | None:
        """Return the present version of an object, or None."""
        with suppress(FileNotFoundError), _reported(self.url, passing=FileNotFoundError):
            return Stored.of(obstore.head(self._store, name))
        return None

    def read(self, name: str) -> tuple[Stored, bytes]:
        """Return an object and its content.

        Raises:
            FileNotFoundError: no object has this name.
        """
        with _reported(self.url, passing=FileNotFoundError):
            found = obstore.get(self._store, name)
            return Stored.of(found.meta), bytes(found.bytes())

    def create(self, name: str, content: bytes) -> bool:
        """Write an object unless the name is taken; return whether this call wrote it."""
        with suppress(AlreadyExistsError), _reported(self.url, passing=AlreadyExistsError):
            # A multipart upload would not be conditional.
            obstore.put(self._store, name, content, mode="create", use_multipart=False)
            return True
        return False

    def replace(self, old: Stored, content: bytes) -> Stored | None:
        """Write an object in place of one version of it; return the new version, or None if another took its place."""
        version: UpdateVersion = {}
        if old.etag is not None:
            version["e_tag"] = old.etag
        if old.generation is not None:
            version["version"] = old.generation
        lost = (PreconditionError, FileNotFoundError)
        with suppress(*lost), _reported(self.url, passing=lost):
            new = obstore.put(self._store, old.name, content, mode=version, use_multipart=False)
            return Stored(name=old.name, size=len(content), etag=new["e_tag"], generation=new["version"])
        return None

    def upload(self, file: Path) -> None:
        """Write a file as the object of its name, whatever was there, with the media type of its suffix."""
        media, _ = mimetypes.guess_type(file)
        with _reported(self.url):
            obstore.put(self._store, file.name, file, attributes={"Content-Type": media or "application/octet-stream"})

    def delete(self, name: str) -> None:
        """Remove an object, whichever version it has."""
        with _reported(self.url):
            obstore.delete(self._store, name)

    def check_writable(self) -> None:
        """Write an object and delete it."""
        name = f"probes/{uuid.uuid4().hex}"
        self.create(name, b"")
        self.delete(name)

    def all(self) -> Iterator[Stored]:
        """Yield every object."""
        with _reported(self.url):
            for batch in obstore.list(self._store):
                yield from map(Stored.of, batch)


@contextmanager
def _reported(url: str, passing: type[Exception] | tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Raise what fails as a StoreError, except for answers that the caller expects."""
    try:
        yield
    except passing:
        raise
    except (BaseError, FileNotFoundError, ValueError) as error:  # a missing bucket is a missing file
        raise StoreError(f"{url}: {_words(str(error))}") from None


def _words(text: str) -> str:
    """Return what went wrong in one line: without obstore's dump of its structures, and of an XML answer its message."""
    line, _, answer = " ".join(text.partition("\n\nDebug source")[0].split()).partition("<?xml")
    told = re.findall(r"<(?:Code|Message)>(.*?)</", answer)
    return (line.strip().removesuffix(":") + "".join(f": {one}" for one in told)) or "failed without a message"
