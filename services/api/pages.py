"""The service's web page: a few files without secrets. What it shows, it asks the API for, with the reader's own token."""

from pathlib import Path

from fastapi import APIRouter, Response

from services.api.problems import Problem

STATIC = Path(__file__).with_name("static")
KINDS = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# Scripts and styles only from here; a report is shown from a blob of its own.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


FILES = {file.name: file for file in STATIC.iterdir() if file.suffix in KINDS}

router = APIRouter(include_in_schema=False)


@router.get("/")
def get_page() -> Response:
    """The page."""
    return _file(FILES["index.html"])


@router.get("/static/{name}")
def get_file(name: str) -> Response:
    """A file of the page."""
    if name not in FILES:
        raise Problem(404, f"there is no file {name[:60]!r}")
    return _file(FILES[name])


def _file(file: Path) -> Response:
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return Response(file.read_bytes(), media_type=KINDS[file.suffix], headers=headers)
