"""Takes the README's screenshot of MLflow: the page that `abel ui` opens for a sweep, in Chromium.

python bench/figures/view.py SWEEP FILE.png     (ABEL_HOME is the home of the sweep)
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from playwright.sync_api import sync_playwright

from services.settings import Settings
from services.verbs.ui import ui

SIZE = {"width": 1440, "height": 960}
START_SECONDS = 60
DRAWN = "() => document.querySelectorAll('.js-plotly-plot .scatterlayer path.js-line').length >= 6"
SETTLE_MS = 2000  # bands are drawn after lines


def main(sweep: str, file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = ui(Settings.from_env(), port, sweep)
    assert server.command is not None, "must be a store of this ABEL_HOME, not a server"
    process = subprocess.Popen(server.command, env=os.environ | dict(server.environment))
    try:
        wait(f"http://127.0.0.1:{port}/health")
        picture(server.url, file)
    finally:
        process.terminate()
        process.wait()


def wait(url: str) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            urlopen(url, timeout=5).close()
            return
        except URLError:
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.2)


def picture(url: str, file: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(url)
        page.wait_for_function(DRAWN)
        for name in ("Close", "Hide banner"):  # the assistant, and a banner about shared views
            page.get_by_role("button", name=name, exact=True).first.click()
        page.wait_for_timeout(SETTLE_MS)
        page.screenshot(path=file)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
