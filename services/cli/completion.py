"""Shell completion: names from the catalogue, and sweeps and arms from the ledger.

A key press waits for it. So it reads SQLite directly, avoids slow imports, and completes nothing on errors. SQLAlchemy
is imported only for the ledger's URL.
"""

import sqlite3
from contextlib import closing
from typing import Any

WAIT_SECONDS = 0.2


def spec_names(incomplete: str) -> list[str]:
    """Catalogue entries; if none matches, the shell completes files."""
    from sweeps import catalog

    return [name for name in catalog.names() if name.startswith(incomplete)]


def sweep_names(incomplete: str) -> list[str]:
    """Names of sweeps that were run here."""
    return _names("select distinct name from sweeps where substr(name, 1, ?) = ? order by name", incomplete)


def arm_names(ctx: Any, incomplete: str) -> list[str]:
    """Arms of the sweep on the command line."""
    query = (
        "select distinct arm from trials join sweeps on sweeps.id = sweep_id "
        "where substr(arm, 1, ?) = ? and ? in (sweeps.id, sweeps.name) order by arm"
    )
    # While an option still lacks its value, the parser leaves arguments in ctx.args.
    sweep = ctx.params.get("sweep") or next(iter(ctx.args), None)
    return _names(query, incomplete, sweep)


def _names(query: str, incomplete: str, *more: str | None) -> list[str]:
    from services.settings import Settings, SettingsError
    from sweeps.urls import sqlite_file

    try:
        path = sqlite_file(Settings.from_env().ledger_url)
        if path is None or not path.is_file():
            return []
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=WAIT_SECONDS)) as ledger:
            return [str(name) for (name,) in ledger.execute(query, (len(incomplete), incomplete, *more))]
    except (SettingsError, OSError, ValueError, sqlite3.Error):
        return []
