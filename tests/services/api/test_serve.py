"""The service as a process: on which addresses it listens, and who gets a token."""

import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests


def test_it_makes_a_token_for_its_home_on_any_address_if_told_to(
    abel_home: Path, start: Callable[..., Any], free_port: Callable[[], int]
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "services.cli", "serve", "--host", "0.0.0.0", "--port", str(port), "--make-token"]
    service = start(command)
    service.wait_for(lambda: "serving at" in service.said)
    file = abel_home / "token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    answers = [
        requests.get(f"http://127.0.0.1:{port}/v1/sweeps", headers=headers, timeout=10).status_code
        for headers in ({}, {"Authorization": f"Bearer {file.read_text().strip()}"})
    ]
    assert answers == [401, 200]
