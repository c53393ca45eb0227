"""Object stores to test with: an S3 server, and a small stand-in for Google Cloud Storage. Each runs in a process of its own.

python tests/support/object_stores.py s3|gs HOST PORT
"""

import hashlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from cluster import Network

BUCKET = "robustness"
_ACCOUNT = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}


@dataclass(frozen=True, kw_only=True)
class ObjectServer:
    """A running server: the URL of its empty bucket, and the environment with which clients find it."""

    url: str
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes]


@contextmanager
def object_server(
    kind: str, *, network: "Network | None" = None, port: int | None = None, reached_at: str | None = None
) -> Iterator[ObjectServer]:
    """Run a server of a kind, ``s3`` or ``gs``; in another network, this process gets there by ``reached_at``."""
    host, entry = (network.address, network.entry) if network else ("127.0.0.1", ())
    port = port or _free_port()
    here = f"http://{host}:{port}"
    environments = {
        "s3": {
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "not-so-secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": here,
        },
        "gs": {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(_ACCOUNT | {"gcs_base_url": here})},
    }
    command = [*entry, sys.executable, __file__, kind, host, str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            _await(reached_at or here, process)
            if kind == "s3":
                made = urllib.request.Request(f"{reached_at or here}/{BUCKET}", method="PUT")
                urllib.request.urlopen(made).close()
            yield ObjectServer(url=f"{kind}://{BUCKET}/sweeps", environment=environments[kind], process=process)
        finally:
            process.kill()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=10).close()
        except urllib.error.HTTPError as answer:
            return answer.close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the object store did not start")


class GoogleObjects(BaseHTTPRequestHandler):
    """What a client needs of Google's XML API: conditional writes by generation, reads, deletes and lists of one bucket."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, tuple[bytes, int]] = {}
    generations = itertools.count(1)
    lock = threading.Lock()

    def do_PUT(self) -> None:
        """Write an object if its generation is the one in the header; generation 0 stands for a name not yet taken."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        wanted = self.headers.get("x-goog-if-generation-match")
        with self.lock:
            _, generation = self.objects.get(self._name, (b"", 0))
            if wanted is not None and int(wanted) != generation:
                return self._answer(412)
            self.objects[self._name] = content, next(self.generations)
            return self._answer(200, *self.objects[self._name], body=b"")

    def do_GET(self) -> None:
        """Return an object, or the list of those with a prefix."""
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            return self._list(query.get("prefix", [""])[0])
        found = self.objects.get(self._name)
        return self._answer(404) if found is None else self._answer(200, *found)

    def do_HEAD(self) -> None:
        """Describe an object."""
        self.do_GET()

    def do_DELETE(self) -> None:
        """Remove an object."""
        self._answer(204 if self.objects.pop(self._name, None) else 404)

    @property
    def _name(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}/")

    def _list(self, prefix: str) -> None:
        rows = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(content)}</Size><ETag>{_etag(content)}</ETag>"
            f"<LastModified>2026-11-29T00:00:00.000Z</LastModified></Contents>"
            for name, (content, _) in sorted(self.objects.items())
            if name.startswith(prefix)
        )
        text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
        self._answer(200, body=text.encode())

    def _answer(self, status: int, content: bytes = b"", generation: int = 0, body: bytes | None = None) -> None:
        body = content if body is None else body
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", _etag(content))
        self.send_header("Last-Modified", "Sun, 29 Nov 2026 00:00:00 GMT")
        self.send_header("x-goog-generation", str(generation))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Stay silent."""


def _etag(content: bytes) -> str:
    return quote(f'"{hashlib.md5(content).hexdigest()}"', safe='"')


def main(kind: str, host: str, port: int) -> None:
    """Serve until killed."""
    if kind == "gs":
        ThreadingHTTPServer((host, port), GoogleObjects).serve_forever()
    os.execv(sys.executable, [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
