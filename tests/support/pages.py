"""The blocks of a document, and the commands that a reader would type."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])

_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)
SHELLS = ("bash", "sh", "console")


class Block(NamedTuple):
    kind: str
    title: str
    text: str

    @property
    def needs(self) -> str:
        """What a test machine lacks, as the block's title says."""
        return self.title.removeprefix("Needs ") if self.title.startswith("Needs ") else ""


def blocks(markdown: str) -> list[Block]:
    return [Block(*found) for found in _BLOCK.findall(markdown)]


def commands(markdown: str) -> list[str]:
    """What a reader would type: the lines of `bash` and `sh` blocks, those after `$ ` in `console` blocks."""
    return [line for block in blocks(markdown) if block.kind in SHELLS for line in typed(block)]


def typed(block: Block) -> list[str]:
    """The commands of a shell block, without comments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.kind == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def words(command: str) -> list[str]:
    """A command's words, without leading variables and the environment's path, up to what a shell would cut off."""
    kept = re.split(r"\s(?:&&|\|\||[|;<>]|&$)", command, maxsplit=1)[0]
    listed = shlex.split(kept, comments=True)
    while listed and re.match(r"[A-Z_]+=", listed[0]):
        listed.pop(0)
    return [listed[0].removeprefix(".venv/bin/"), *listed[1:]] if listed else []
