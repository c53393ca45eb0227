"""Tests for `services/report/page.py`."""

from services.report import page


def test_a_tile_may_break_its_value_between_words() -> None:
    assert "<b>5.9 % (5.3 to 6.6)</b>" in page.tiles([("5.9\u00a0%\u00a0(5.3\u00a0to\u00a06.6)", "ABEL & others")])
