"""The catalogue as it is listed."""

from io import StringIO

from rich.console import Console

from services.cli import rendering
from services.verbs import specs


def test_the_catalogue_is_listed_by_task_and_size() -> None:
    groups = specs.catalog_groups()
    assert sorted((one for group in groups.values() for one in group), key=lambda one: one.name) == specs.catalog()
    names = {heading: [entry.name for entry in group] for heading, group in groups.items()}
    assert list(names)[:3] == ["Images, sized for two cores", "Images, larger", "Translation, sized for two cores"]
    assert {"norm-equation", "norm-equation-digits", "fig-s5-cifar10"} <= {*names["Images, sized for two cores"]}
    assert {"fig-s6a", "fig-3-vgg5", "fig-1"} <= {*names["Images, larger"]}, "epochs of minutes, and for accelerators"
    assert names["GLUE, sized for two cores"] == ["table-s1-mini", "table-s1-pretrained-mini"]
    assert names["Games, larger"] == ["fig-s12", "table-2-rl-pong", "table-2-rl-qbert", "table-2-rl-seaquest"]
    told = StringIO()
    Console(file=told, width=80).print(rendering.catalog_table(groups), crop=False)
    lines = told.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "Images, sized for two cores" and "Games, larger" in map(str.rstrip, lines)
