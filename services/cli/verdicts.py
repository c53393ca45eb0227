"""Verdicts of `abel check`: on a terminal, as Markdown for a job summary, and as JUnit XML for test reporters."""

import math
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from rich.console import Group, RenderableType
from rich.text import Text

from services.cli.tables import Fitted
from services.schemas import Checked
from sweeps.results.values import Finding, Interval, Power, Verdict
from sweeps.results.wording import error_words

STYLES = {Verdict.HOLDS: "green", Verdict.REGRESSED: "bold red", Verdict.CANNOT_TELL: "yellow"}
COLUMNS = ("arm", "measure", "before", "now", "change", "margin", "verdict")
LEGEND = "Before and now: 95 % intervals. Change: one-sided 95 % bounds. Units: points of {}, shares, or decays."


def terminal(result: Checked) -> RenderableType:
    """The verdict with its evidence."""
    head = Text.assemble(
        (f"{result.verdict}  ", STYLES[result.verdict]),
        (result.sweep, "bold"),
        f"  against {result.baseline}, by {error_words(result.error, result.metric)}",
    )
    table = Fitted(COLUMNS, free=("change", "verdict"), right=("before", "now"))
    for finding in result.findings:
        arm, what, _, _, change, margin, said = _cells(finding)
        values = (f"{found.value:.2f}" if found else "" for found in (finding.before, finding.after))
        cells = map(Text, (arm, what, *values, change, margin))
        table.add_row(*cells, Text(said, STYLES[finding.verdict]))
    return Group(head, table, *(Text(f"{what}: {why}") for what, why in _reasons(result)))


def markdown(result: Checked) -> str:
    """The verdict as a Markdown section for a job summary."""
    lines = [
        f"### Robustness: {result.sweep} {_in_words(result.verdict)}",
        "",
        f"Against `{result.baseline}`, by {error_words(result.error, result.metric)}.",
        "",
    ]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(finding)) + " |" for finding in result.findings
    ]
    lines += ["", *(f"- {what}: {why}" for what, why in _reasons(result)), "", LEGEND.format(result.metric), ""]
    return "\n".join(lines)


def junit(result: Checked) -> str:
    """The findings as JUnit test cases: a regression is a failure, an inconclusive finding an error."""
    count = {verdict: sum(finding.verdict is verdict for finding in result.findings) for verdict in Verdict}
    suite = ElementTree.Element(
        "testsuite",
        name=f"abel check {result.sweep}",
        tests=str(len(result.findings)),
        failures=str(count[Verdict.REGRESSED]),
        errors=str(count[Verdict.CANNOT_TELL]),
    )
    for finding in result.findings:
        of = ".".join(filter(None, (result.sweep, finding.arm)))
        case = ElementTree.SubElement(suite, "testcase", classname=of, name=finding.what)
        evidence = ", ".join(
            f"{name} {cell}" for name, cell in zip(COLUMNS[2:-1], _cells(finding)[2:-1], strict=True) if cell
        )
        if finding.verdict is not Verdict.HOLDS:
            kind = "failure" if finding.verdict is Verdict.REGRESSED else "error"
            ElementTree.SubElement(case, kind, message=finding.why).text = evidence
        else:
            ElementTree.SubElement(case, "system-out").text = evidence
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _in_words(verdict: Verdict) -> str:
    return {Verdict.HOLDS: "holds", Verdict.REGRESSED: "has regressed", Verdict.CANNOT_TELL: "is inconclusive"}[verdict]


def _cells(finding: Finding) -> list[str]:
    return [
        finding.arm,
        finding.what,
        "" if finding.before is None else _number(finding.before),
        "" if finding.after is None else _number(finding.after),
        "" if finding.change is None else _number(finding.change, signed=True),
        "" if finding.limit is None or finding.before is None else f"{finding.limit:g}",
        str(finding.verdict),
    ]


def _number(found: Interval, *, signed: bool = False) -> str:
    value = f"{found.value:+.2f}" if signed else f"{found.value:.2f}"
    return value if math.isnan(found.low) else f"{value} ({found.low:.2f}, {found.high:.2f})"


def _reasons(result: Checked) -> Iterator[tuple[str, str]]:
    for finding in result.findings:
        if finding.verdict is not Verdict.HOLDS:
            yield " ".join(filter(None, (finding.arm, finding.what))), finding.why


def powers(found: Sequence[Power]) -> RenderableType:
    """Power tables: the share of each verdict by number of seeds and true regression."""
    return Group(*(_power(one) for one in found))


def _power(found: Power) -> RenderableType:
    if found.why:
        return Text(f"{found.arm}, {found.measure}: {found.why}\n")
    columns = ("seeds", "true regression", *map(str, Verdict))
    table = Fitted(columns, right=columns)
    for seeds, worse, shares in found.rows:
        table.add_row(str(seeds), f"{worse:g}", *(f"{shares[verdict]:.0%}" for verdict in Verdict))
    return Group(Text(f"{found.arm}, {found.measure}: margin {found.margin:g}", style="italic"), table)
