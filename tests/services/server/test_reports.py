"""Reports of one sweep that two owners submitted: each in the words of their own spec."""

from pathlib import Path

import pytest
from stories import Story

from services.server.reports import Reports
from services.settings import Settings
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.submissions.queue import Submissions


def test_a_report_has_the_title_of_its_own_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABEL_HOME", str(tmp_path))
    settings = Settings.from_env().prepare()
    ledger = Ledger.open(settings.ledger_url)
    story = Story(ledger, seeds=1, epochs=8, decays=(4,)).begin().tell().end()
    sweep, queue, pages = ledger.sweep(story.sweep_id), Submissions.of(ledger), []
    for owner in ("ada", "bob"):
        spec = {**sweep.spec, "title": f"A secret of {owner}", "claim": f"{owner} knows"}
        one, _ = queue.submit(owner, story.name, spec, {})
        assert queue.count_launch(one, None) == 1
        queue.take(one.id, 1)
        queue.renew(one.id, 1, sweep_id=sweep.id)
        ledger.describe_sweep(sweep.id, spec)
        pages.append(Reports(settings, ledger).page(queue.submission(one.id), ledger.sweep(sweep.id)))
    ada = Reports(settings, ledger).page(queue.page("ada")[0], ledger.sweep(sweep.id))
    for page, own, other in ((pages[0], "ada", "bob"), (pages[1], "bob", "ada"), (ada, "ada", "bob")):
        assert f"A secret of {own}" in page and f"{own} knows" in page
        assert other not in page
    ledger.close()
