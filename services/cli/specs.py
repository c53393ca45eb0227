"""The commands on specs and what they name: `abel catalog`, `init`, `plugins`, `validate`, `plan` and `schema`."""

from enum import StrEnum
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
    if as_json:
        streams.write_json(verb.catalog())
    else:
        show(verb.catalog_groups(), rendering.catalog_table)


_SPEC = Path("sweep.yaml")


class PluginPart(StrEnum):
    """What a plug-in can be part of a program as."""

    TASK = "task"
    MODEL = "model"
    DATA = "data"
    OPTIMIZER = "optimizer"


def init(
    file: Annotated[
        Path, typer.Argument(help="The file or folder to write; existing ones are never overwritten.")
    ] = _SPEC,
    plugin: Annotated[
        PluginPart | None, typer.Option(help="Write a package with a plug-in; the folder's name becomes its kind.")
    ] = None,
) -> None:
    """Write a commented spec to start from, or a working package with a plug-in, its test and a sweep.

    Example: abel init mine.yaml && abel plan mine.yaml
    """
    if plugin is not None and file == _SPEC:
        raise typer.BadParameter(f"name a folder, as in `abel init my_{plugin} --plugin {plugin}`", param_hint="FILE")
    if plugin is not None:
        from services.verbs.plugins import scaffold

        show(scaffold.write_plugin(plugin, file), rendering.package_written, done=True)
        return
    from services.verbs import specs as verb

    verb.write_template(file)
    show(file, rendering.started, done=True)


def plugins(as_json: AsJson = False) -> None:
    """List every installed task, model, data source and optimiser, and check that a spec can use it.

    Exits with 1 if one cannot be used.

    Example: abel plugins
    """
    from services.verbs.plugins import listing

    found = listing.installed_plugins()
    show(found, rendering.plugins_table, as_json)
    if any(one.fault for one in found):
        raise typer.Exit(1)


def validate(spec: Spec, as_json: AsJson = False) -> None:
    """Check a spec and list every error with its location.

    Example: abel validate mine.yaml
    """
    from services.verbs import specs as verb

    show(verb.validate(spec), rendering.valid_spec, as_json)


def plan(
    spec: Spec,
    data_dir: DataDir = None,
    no_sharing: NoSharing = False,
    workers: Workers = None,
    threads: Threads = 1,
    seeds: Seeds = None,
    as_json: AsJson = False,
) -> None:
    """Forecast what a sweep costs, given what earlier runs have recorded. Trains and records nothing.

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
