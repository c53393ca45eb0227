"""How the service answers under load: submitters with repeated keys, watchers, and a status of many trials.

    python bench/service.py [--submitters 32] [--each 25] [--watchers 64]

The service runs in a process of its own over SQLite, its jobs are not started. Prints the latencies of submissions, the number of
distinct submissions made, and whether every watcher saw every event once.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

SERVER = """
import sys
sys.path[:0] = sys.argv[2:]
from desks import NoJobs, serving
from services.api.app import build
from services.settings import Settings
from sweeps.ledger.ledger import Ledger
settings = Settings.from_env({"ABEL_HOME": sys.argv[1]}).prepare()
with serving(build(settings, Ledger.open(settings.ledger_url), NoJobs())) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("submitters", 32), ("each", 25), ("watchers", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-c", SERVER, home, *sys.path[:2]]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            print(json.dumps(measure(server.stdout.readline().strip(), Path(home), asked), indent=1))
            server.stdin.close()  # type: ignore[union-attr]


def measure(url: str, home: Path, asked: argparse.Namespace) -> dict[str, object]:
    """Submit and watch at once; return the figures."""
    from desks import SPEC
    from stories import Story

    from services.client.client import Client
    from services.server.values import Happening
    from services.settings import Settings
    from sweeps.ledger.ledger import Ledger
    from sweeps.ledger.submissions.queue import Submissions
    from sweeps.ledger.submissions.tokens import Tokens

    ledger = Ledger.open(Settings.from_env({"ABEL_HOME": str(home)}).ledger_url)
    queue, tokens = Submissions.of(ledger), Tokens.of(ledger)
    story = Story(ledger).begin()
    watched, _ = queue.submit("watched", "story", {"name": "story"}, {})
    number = queue.count_launch(watched, None)
    assert number is not None
    queue.take(watched.id, number)
    queue.renew(watched.id, number, sweep_id=story.sweep_id)
    seen: list[list[int]] = [[] for _ in range(asked.watchers)]
    connected = threading.Barrier(asked.watchers + 1, timeout=60)

    def watch(place: list[int], token: str) -> None:
        try:
            for count, event in enumerate(Client(url, token).events(watched.id)):
                if count == 0:
                    connected.wait()
                if isinstance(event, Happening):
                    place.append(event.id)
        except BaseException:
            connected.abort()  # nobody waits for this one
            raise

    submitting = [tokens.make(f"owner{owner}", ["submit"])[1] for owner in range(asked.submitters)]
    latencies: list[float] = []
    made: set[str] = set()

    def submit(owner: int) -> None:
        client = Client(url, submitting[owner])
        for index in range(asked.each):
            key = f"{index - 1 if index % 5 == 4 else index}"  # each fifth repeats the one before
            began = time.perf_counter()
            one, _ = client.submit({**SPEC, "seeds": [int(key)]}, key=key)
            latencies.append(time.perf_counter() - began)
            made.add(one.id)

    # `abel serve` imports before it serves what the first submission imports here.
    Client(url, tokens.make("first", ["submit"])[1]).submit(SPEC)
    watching = [tokens.make("watched", ["read"])[1] for _ in seen]  # a token has at most 16 streams
    watchers = [threading.Thread(target=watch, args=given) for given in zip(seen, watching, strict=True)]
    submitters = [threading.Thread(target=submit, args=(owner,)) for owner in range(asked.submitters)]
    for thread in watchers:
        thread.start()
    connected.wait()
    for thread in submitters:
        thread.start()
    story.tell().end()
    for thread in submitters:
        thread.join()
    queue.release(watched.id, number, outcome="finished")
    for thread in watchers:
        thread.join()
    events = [row.id for row in ledger.events(story.sweep_id, limit=10**6)]
    latencies.sort()
    distinct = asked.submitters * len({index - 1 if index % 5 == 4 else index for index in range(asked.each)})
    return {
        "submissions": len(latencies),
        "submissions expected": asked.submitters * asked.each,
        "distinct": len(made),
        "distinct expected": distinct,
        "p50 ms": round(1000 * statistics.median(latencies)),
        "p99 ms": round(1000 * latencies[int(0.99 * len(latencies))]),
        "longest ms": round(1000 * latencies[-1]),
        "watchers that saw every event once": sum(place == events for place in seen),
        "events": len(events),
    }


if __name__ == "__main__":
    main()
