"""The documentation site: it builds without a warning, fetches nothing, leads somewhere, and is complete."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pages import ROOT

from abel.schedules import SCHEDULES
from services.cli.app import app
from services.verbs import specs
from workers import plugins


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "--quiet", "build", "--strict", "--site-dir", str(place)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def headings(page: Path) -> set[str]:
    """The headings of a page of the site, as plain text."""
    found = re.findall(r"<h[1-6] id=.*?>(.*?)<a ", page.read_text(), re.DOTALL)
    return {unescape(re.sub("<[^>]+>", "", heading)).strip() for heading in found}


def names(page: Path) -> set[str]:
    """What stands in the first column of a page's tables."""
    return set(re.findall(r"<tr>\s*<td[^>]*><code>(.*?)</code>", page.read_text()))


def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for word, below in getattr(command, "commands", {}).items():
        yield from leaves(below, f"{name} {word}")
    if not hasattr(command, "commands"):
        yield name, command


def test_the_site_fetches_nothing(site: Path) -> None:
    loads = re.compile(r'<(?:script|img|iframe|link)\b[^>]*(?:src|href)="?(https?:[^">\s]+)')
    found = {url for page in site.rglob("*.html") for url in loads.findall(page.read_text())}
    assert found == set()
    styles = "".join(style.read_text() for style in site.rglob("*.css"))
    assert "@import" not in styles and "url(http" not in styles


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    """mkdocs checks the links of pages; this also covers what templates and generated pages add."""
    ids = {page: set(re.findall(r'\bid="?([^"\s>]+)', page.read_text())) for page in site.rglob("*.html")}
    for page in ids.keys() - {site / "404.html"}:
        for link in re.findall(r'<(?:a|img|link|script)\b[^>]*?(?:href|src)="?([^"\s>]+)', page.read_text()):
            path, _, anchor = unescape(link).partition("#")
            if ":" not in path:
                target = (page.parent / path).resolve() if path else page
                target = target / "index.html" if target.is_dir() else target
                assert target.exists(), f"{page.name}: {link}"
                assert not anchor or target not in ids or anchor in ids[target] | {"__skip"}, f"{page.name}: {link}"


def test_the_command_line_page_has_every_command_and_option(site: Path) -> None:
    page = site / "reference" / "cli.html"
    for name, command in leaves(typer.main.get_command(app), "abel"):
        assert name in headings(page)
        for item in command.params:
            if item.param_type_name == "option":
                assert any(shown.split()[0] == item.opts[0] for shown in names(page)), f"{name} {item.opts}"


def test_the_spec_page_has_every_field_and_kind(site: Path) -> None:
    page, schema = site / "reference" / "spec.html", specs.schema()

    def fields(part: Any) -> Iterator[str]:
        if isinstance(part, Mapping):
            yield from part.get("properties", {})
            for below in part.values():
                yield from fields(below)
        elif isinstance(part, list):
            for below in part:
                yield from fields(below)

    assert set(fields(schema)) - {"kind", "range", "log", "step", "count"} <= names(page)
    groups = (plugins.TASKS, plugins.MODELS, plugins.DATA, plugins.OPTIMIZERS)
    assert {kind for group in groups for kind in plugins.variants(group)} <= headings(page)
    assert set(SCHEDULES) <= headings(page)


def test_the_catalogue_page_has_every_entry(site: Path) -> None:
    assert {entry.name for entry in specs.catalog()} <= headings(site / "reference" / "catalogue.html")
