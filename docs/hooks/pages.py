"""Generate site pages during the build: the command line, the spec and the catalogue, from the program itself.

The repository's own documents become pages too, at their paths in the repository.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from abel.schedules import SCHEDULES
from services.cli.app import app
from services.verbs import specs
from workers import plugins
from workers.data.augment import Augment
from workers.glue.albert import Albert
from workers.glue.texts import GlueTexts
from workers.pretraining.plain_texts import PlainTexts
from workers.translation.encoder_decoder import EncoderDecoder
from workers.translation.text_pairs import TextPairs

OWN_PARTS = (  # of programs that take no installed model or data
    ("glue", "model", Albert),
    ("glue", "data", GlueTexts),
    ("masked_lm", "model", Albert),
    ("masked_lm", "data", PlainTexts),
    ("translate", "model", EncoderDecoder),
    ("translate", "data", TextPairs),
)
ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "bench/RESULTS.md")

VALUES = {int: "N", float: "NUMBER", str: "TEXT", Path: "PATH"}  # what follows an option of each type

Schema = Mapping[str, Any]


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the generated pages, and the repository's documents with their figures."""
    pages: dict[str, Callable[[], str]] = {
        "reference/cli.md": command_line,
        "reference/spec.md": spec,
        "reference/catalogue.md": catalogue,
    }
    for path, make in pages.items():
        files.append(File.generated(config, path, content=make()))
    for path in (*DOCUMENTS, *(str(figure.relative_to(ROOT)) for figure in ROOT.glob("bench/figures/*.png"))):
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Rewrite links between docs/ and the repository's documents: in the site, docs/ is the root."""
    path = page.file.src_uri
    if path in DOCUMENTS:
        return markdown.replace("](" + "../" * path.count("/") + "docs/", "](" + "../" * path.count("/"))
    depth = path.count("/")
    return markdown.replace("](" + "../" * (depth + 1), "](" + "../" * depth)


def command_line() -> str:
    """The page of every command with its help, arguments and options."""
    parts = [
        "# Command line",
        "Generated from `abel --help` and the help of each command. `SPEC` is a YAML file or the name of a catalogue entry; "
        "`SWEEP` is the name or id of a sweep in this `ABEL_HOME`. [Settings](settings.md) lists the exit codes.",
    ]
    for name, command in commands(typer.main.get_command(app), "abel"):
        arguments = [item for item in command.params if item.param_type_name == "argument"]
        options = [item for item in command.params if item.param_type_name != "argument"]
        usage = " ".join([name, *(_usage(item) for item in arguments), "[OPTIONS]"])
        parts += [f"## `{name}`", _prose(command.help or ""), f"```text title='Usage'\n{usage}\n```"]
        if arguments:
            parts.append(_table(["argument", "what"], ([_code(_name(item)), item.help] for item in arguments)))
        if options:
            rows = ([_code(_option(item)), _default(item), item.help] for item in options)
            parts.append(_table(["option", "default", "what"], rows))
    return "\n\n".join(parts) + "\n"


def commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The commands in a group, with their full names; a group itself only if it is callable."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def _name(item: Any) -> str:
    return str(item.metavar or item.name.upper()).strip("[]")


def _usage(item: Any) -> str:
    return _name(item) if item.required else f"[{_name(item)}]"


def _option(item: Any) -> str:
    """An option's names and its value."""
    kind = item.type_descriptor.annotation
    value = item.metavar or (f"{{{','.join(kind)}}}" if issubclass(kind, Enum) else VALUES.get(kind, ""))
    return " ".join([", ".join(item.opts), value]).strip()


def _default(item: Any) -> str:
    if item.required:
        return "required"
    return "" if item.default in (None, False, ()) else f"`{item.default}`"


def _prose(text: str) -> str:
    """A docstring's paragraphs, with its example as a code block."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    example = re.compile(r"Example: (.*)")
    return "\n\n".join(
        f"```bash\n{found[1]}\n```" if (found := example.fullmatch(paragraph)) else paragraph
        for paragraph in paragraphs
    )


def spec() -> str:
    """The page of every spec field, from the JSON schema and the classes of its variants."""
    schema = specs.schema()
    parts = schema["$defs"]
    text = [
        "# Spec",
        "Generated from `abel schema`, which also prints the schema for editors. A spec is YAML 1.2 or JSON. Unknown keys "
        "are errors; `abel validate` lists every error with its place. [Write a spec](../how-to/spec.md) explains how the "
        "parts work together.",
        "## Sweep",
        _fields(schema),
        "## `program`",
        "What to train, on what data and how. Each of `task`, `model`, `data` and `optimizer` is a mapping with a `kind`, "
        "or only the kind if its defaults suffice. Installed packages can add kinds. The task decides which other fields there "
        "are.",
    ]
    for kind, task in plugins.variants(plugins.TASKS).items():
        program = task.program
        text += [f"### `program` of the task {kind}", _fields(parts[program.__name__], _comments(program))]
    for name, group in plugins.GROUPS.items():
        text.append(f"### `program.{name}`")
        for kind, variant in plugins.variants(group).items():
            text += _variant(kind, variant, parts)
    text += ["### `program.augment`", _fields(parts["Augment"], _comments(Augment))]
    for task_kind, name, part in OWN_PARTS:
        text += [f"### `program.{name}` of the task {task_kind}", _fields(parts[part.__name__], _comments(part))]
    text += [
        "## `arms`",
        "Each arm has a name, a schedule and an optional grid.",
        _fields(parts["Arm"]),
    ]
    text += ["### `arms.NAME.schedule`", "You may omit a field that the grid varies."]
    for kind, variant in SCHEDULES.items():
        text += _variant(kind, variant, parts)
    text += [
        "### `arms.NAME.grid`",
        "Keys are fields of the schedule or the program, such as `schedule.decay_epoch` or `program.l2`.",
    ]
    text.append(
        _table(
            ["axis", "values"],
            [
                ["`[a, b, c]`", "as listed"],
                [
                    "`{range: [low, high], step: s}`",
                    "from low to high in steps of s; a search needs `step` only for whole numbers",
                ],
                [
                    "`{log: [low, high], count: n}`",
                    "n values, evenly spaced in the logarithm; a search may omit `count`",
                ],
            ],
        )
    )
    text += ["### `arms.NAME.search`", _fields(parts["Search"]), "### `arms.NAME.halving`", _fields(parts["Halving"])]
    for name in ("resources", "limits", "check", "claims"):
        text += [f"## `{name}`", parts[name.capitalize()]["description"], _fields(parts[name.capitalize()])]
    return "\n\n".join(text) + "\n"


def _variant(kind: str, variant: type[Any], parts: Schema) -> list[str]:
    schema = parts[variant.__name__]
    return [f"#### `{kind}`", schema["description"], _fields(schema, _comments(variant), without=("kind",))]


def _comments(cls: type[Any]) -> dict[str, str]:
    """A dataclass's field descriptions, from trailing comments and its docstring's `Args:`, including its parents'."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__[:-1]):
        found |= dict(re.findall(r"^    (\w+): .*?  # (.+)$", inspect.getsource(each), re.MULTILINE))
        _, _, arguments = inspect.cleandoc(each.__doc__ or "").partition("Args:\n")
        described = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", arguments, re.MULTILINE)
        found |= {name: " ".join(text.split()) for name, text in described}
    return found


def _fields(schema: Schema, comments: Mapping[str, str] | None = None, without: tuple[str, ...] = ()) -> str:
    """A table of an object's fields."""
    required = schema.get("required", ())
    rows = [
        [
            f"`{name}`",
            _type(field),
            "required" if name in required else _value(field),
            field.get("description") or _sentence((comments or {}).get(name, "")),
        ]
        for name, field in schema["properties"].items()
        if name not in without
    ]
    return _table(["field", "type", "default", "what"], rows) if rows else "No fields."


def _value(field: Schema) -> str:
    value = field.get("default", "")
    if value == "" or isinstance(value, Mapping):
        return ""
    return _code(value if isinstance(value, str) else json.dumps(value))


def _sentence(text: str) -> str:
    """A comment as a sentence."""
    text = re.sub(r"\bNone\b", "`null`", text).rstrip(".")
    return text[:1].upper() + text[1:] + "." if text else ""


def _type(field: Schema) -> str:
    """A field's type in a user's words."""
    if "enum" in field:
        return " or ".join(_code(str(value)) for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(_type(each) for each in field["anyOf"])
    if "$ref" in field or "oneOf" in field:
        return "mapping"
    kinds = {"object": "mapping", "array": "list", "string": "text", "null": "null", "boolean": "true or false"}
    kind = kinds.get(field.get("type", ""), str(field.get("type", "any")))
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
    return " ".join([kind, ", ".join(f"{sign} {field[key]:,}" for key, sign in bounds.items() if key in field)]).strip()


def catalogue() -> str:
    """The page of the shipped catalogue entries."""
    text = [
        "# Catalogue",
        "Generated from `abel catalog`. `abel catalog NAME > mine.yaml` writes an entry to start from.",
    ]
    for entry in specs.catalog():
        rows = [["claim", " ".join(entry.claim.split())], ["cost", " ".join(entry.cost.split())]]
        text += [f"## `{entry.name}`", entry.title + ".", _table(["", ""], rows)]
    return "\n\n".join(text) + "\n"


def _table(heads: list[str], rows: Any) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    table = "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)
    return f'<div class="fields" markdown>\n\n{table}\n\n</div>'


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{text}`"
