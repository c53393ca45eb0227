"""The verb `run`: train a sweep until it finishes or is stopped."""

from typing import TYPE_CHECKING

from services.schemas import Request, RunResult
from services.settings import Settings
from services.signals import Stop
from services.verbs import specs

if TYPE_CHECKING:
    from services.verbs.running.watching import View


def run(settings: Settings, request: Request, *, view: "View", stop: Stop) -> RunResult:
    """Run a sweep, or resume it, until it finishes or ``stop`` is set.

    Raises:
        SpecError: the spec is invalid.
        SettingsError: a setting that is used only later is invalid.
    """
    spec = specs.requested(request)  # before anything else is imported: a mistake in a spec is reported at once

    from services.verbs.running import execution

    return execution.execute(settings, request, spec, view=view, stop=stop)
