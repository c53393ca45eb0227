"""Answers of worker processes, given by the test's own process."""

import importlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from services.verbs import backup
from sweeps.adoption import replays
from sweeps.processes import identity


def answer_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process answer for the worker processes, each of which takes seconds to start, until the test ends."""

    def ask(
        module: str, question: Mapping[str, Any], environment: identity.WorkerEnvironment, process: str
    ) -> Mapping[str, Any]:
        found: Mapping[str, Any] = importlib.import_module(module).main(json.loads(json.dumps(question)))
        if "fault" in found:
            raise identity.fault_in(found)
        return found

    for asking in (identity, replays, backup):
        monkeypatch.setattr(asking, "ask_worker", ask)
