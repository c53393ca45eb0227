"""The verb `track`: upload sweeps to the tracking store."""

from collections.abc import Callable

from services import ledgers
from services.schemas import Tracked
from services.settings import Settings
from sweeps.files import private


def track(settings: Settings, sweep: str | None, *, rebuild: bool, say: Callable[[str], None]) -> tuple[Tracked, ...]:
    """Upload what the tracking store lacks of a sweep, or of every sweep; stop at the first one that fails.

    Args:
        rebuild: upload everything again from the ledger's first event, whatever the store reports.
    """
    with ledgers.opened_if_any(settings) as ledger:
        if ledger is None and sweep is not None:
            raise ledgers.nothing_here(settings, sweep)
        if ledger is None:
            return ()
        rows = ledger.sweeps() if sweep is None else [ledger.sweep(sweep)]

        from services.tracking import uploading

        done: list[Tracked] = []
        for row in rows:
            ledger.verify(row.id)
            with private():
                done.append(uploading.upload(settings, ledger, row, rebuild=rebuild, say=say))
            if done[-1].error:
                break
        return tuple(done)
