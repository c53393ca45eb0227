"""The commands of `abel data`."""

import typer

from services.cli import rendering
from services.cli.options import AsJson, DataDir, DataName, settings_of, show

data_app = typer.Typer(help="Inspect data sets, and prepare those that need it.", no_args_is_help=True)


@data_app.command("list")
def data_list(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the data sources, and the prepared sets in a data directory.

    Example: abel data list --data-dir data/tfds
    """
    from services.verbs import data as verb

    show(verb.sources(settings_of(data_dir).data_dir), rendering.data_sources, as_json)


@data_app.command("check")
def data_check(name: DataName, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Read a data set as a sweep would, and summarise it.

    Example: abel data check cifar10 --data-dir data/tfds
    """
    from services.verbs import data as verb

    show(verb.check_data(name, settings_of(data_dir).data_dir), rendering.data_report, as_json)


@data_app.command("prepare")
def data_prepare(name: DataName, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Download and prepare a TFDS data set. Needs a network and TensorFlow: pip install 'abel-sweeps\\[prepare]'.

    Example: abel data prepare cifar100 --data-dir data/tfds
    """
    from services.verbs import data as verb

    show(verb.prepare_data(name, settings_of(data_dir).data_dir), rendering.data_report, as_json, done=True)
