"""The commands on specs: `abel catalog`, `init`, `validate`, `plan` and `schema`. They start nothing."""

from pathlib import Path
from typing import Annotated

import typer

from services import streams
from services.cli import completion, rendering
from services.cli.options import (
    AsJson,
    DataDir,
    NoSharing,
    Seeds,
    Spec,
    Threads,
    Workers,
    seeds_of,
    settings_of,
    show,
)
from services.schemas import Request


def catalog(
    name: Annotated[
        str | None, typer.Argument(help="Print this entry, as YAML or JSON.", autocompletion=completion.spec_names)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the sweeps that ship with this package, or print one as YAML.

    Example: abel catalog fig-s6a-digits > mine.yaml
    """
    from services.verbs import specs as verb

    if name is not None:
        if as_json:
            streams.write_json(verb.catalog_document(name))
        else:
            streams.write(verb.catalog_text(name))
        return
    show(verb.catalog(), rendering.catalog_table, as_json)


def init(
    file: Annotated[Path, typer.Argument(help="The file to write; existing files are never overwritten.")] = Path(
        "sweep.yaml"
    ),
) -> None:
    """Write a commented spec to start from.

    Example: abel init mine.yaml && abel plan mine.yaml
    """
    from services.verbs import specs as verb

    verb.write_template(file)
    show(file, rendering.started, done=True)


def validate(spec: Spec, as_json: AsJson = False) -> None:
    """Check a spec and list every error with its location.

    Example: abel validate mine.yaml
    """
    from services.verbs import specs as verb

    show(verb.validate(spec), rendering.validation, as_json)


def plan(
    spec: Spec,
    data_dir: DataDir = None,
    no_sharing: NoSharing = False,
    workers: Workers = None,
    threads: Threads = 1,
    seeds: Seeds = None,
    as_json: AsJson = False,
) -> None:
    """Forecast what a sweep costs, given what earlier runs have recorded. Starts and writes nothing.

    Example: abel plan fig-s6a-cifar10 --data-dir data/tfds
    """
    from services.verbs import plan as verb

    request = Request(spec=spec, sharing=not no_sharing, workers=workers, threads=threads, seeds=seeds_of(seeds))
    show(verb.plan(settings_of(data_dir), request), rendering.plan_facts, as_json)


def schema() -> None:
    """Print the JSON schema of specs, for completion and checks in an editor.

    Example: abel schema > abel.schema.json
    """
    from services.verbs import specs as verb

    streams.write_json(verb.schema())
