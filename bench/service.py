"""How the service answers under load: submitters with repeated keys, and watchers of a sweep that is recorded meanwhile.

    python bench/service.py [--submitters 32] [--each 25] [--watchers 64] [--processes 4]

The service runs in a process of its own over SQLite, its jobs are not started. Submitters are shared out over processes, so they
do not wait for each other's interpreter; watchers are one process that only notes the ids of events. Prints the latencies of
submissions as their clients and as the service measured them, the CPU time of each side, the number of distinct submissions
made, and whether every watcher saw every event once.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from queue import Empty
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

PATIENCE_SECONDS = 300.0

SERVER = """
import asyncio, json, sys, time
sys.path[:0] = sys.argv[2:]
from desks import NoJobs, serving
from services.api.app import build
from services.settings import Settings
from sweeps.ledger.ledger import Ledger

class Timed:
    # notes how long the application has each submission, and how late its event loop is
    def __init__(self, app):
        self.app, self.took, self.late, self.looking = app, [], [], None

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and self.looking is None:
            self.looking = asyncio.ensure_future(self.look())
        began = time.perf_counter()
        await self.app(scope, receive, send)
        if scope.get("method") == "POST":
            self.took.append(1000 * (time.perf_counter() - began))

    async def look(self):
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            self.late.append(1000 * (time.perf_counter() - began) - 10)

settings = Settings.from_env({"ABEL_HOME": sys.argv[1]}).prepare()
timed = Timed(build(settings, Ledger.open(settings.ledger_url), NoJobs()))
with serving(timed) as url:
    print(url, flush=True)
    sys.stdin.readline()
    before = time.process_time()
    sys.stdin.read()
    cpu = time.process_time() - before
print(json.dumps({"took": timed.took[1:], "late": timed.late, "cpu": cpu}))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("submitters", 32), ("each", 25), ("watchers", 64), ("processes", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-c", SERVER, home, *sys.path[:2]]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdin is not None and server.stdout is not None
            seen = measure(server, server.stdout.readline().strip(), Path(home), asked)
            server.stdin.close()
            served = json.loads(server.stdout.read())
    figures = seen | {
        **_spread("in the service: ", served["took"]),
        **_spread("event loop late: ", served["late"]),
        "CPU s of the service": round(served["cpu"], 1),
    }
    print(json.dumps(figures, indent=1))


def measure(server: "subprocess.Popen[str]", url: str, home: Path, asked: argparse.Namespace) -> dict[str, object]:
    """Submit and watch at once; return what the clients saw."""
    from desks import SPEC
    from stories import Story

    from services.client.client import Client
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
    # `abel serve` imports before it serves what the first submission imports here.
    Client(url, tokens.make("first", ["submit"])[1]).submit(SPEC)
    owners = [tokens.make(f"owner{owner}", ["submit"])[1] for owner in range(asked.submitters)]
    readers = [tokens.make("watched", ["read"])[1] for _ in range(asked.watchers)]  # a token has at most 16 streams
    shares = [share for start in range(asked.processes) if (share := owners[start :: asked.processes])]
    spawn = multiprocessing.get_context("spawn")
    start, told, saw = spawn.Barrier(len(shares) + 2), spawn.Queue(), spawn.Queue()
    clients = [spawn.Process(target=watch_all, args=(url, watched.id, readers, start, saw), daemon=True)]
    clients += [
        spawn.Process(target=submit_all, args=(url, share, asked.each, start, told), daemon=True) for share in shares
    ]
    for client in clients:
        client.start()
    start.wait(PATIENCE_SECONDS)
    server.stdin.write("go\n")  # type: ignore[union-attr]
    server.stdin.flush()  # type: ignore[union-attr]
    began = time.perf_counter()
    story.tell().end()
    recorded = time.perf_counter() - began
    answers = [_told(told, clients) for _ in shares]
    lasted = time.perf_counter() - began
    queue.release(watched.id, number, outcome="finished")
    seen, watched_cpu = _told(saw, clients)
    for client in clients:
        client.join()
    events = [row.id for row in ledger.events(story.sweep_id, limit=10**6)]
    latencies = [one for answer in answers for one in answer[0]]
    return {
        "submissions": f"{len(latencies)} of {asked.submitters * asked.each}",
        "distinct": f"{len({id for answer in answers for id in answer[1]})} of {asked.submitters * _distinct(asked.each)}",
        "watchers that saw every event once": f"{sum(place == events for place in seen)} of {asked.watchers}",
        "events": len(events),
        "s until the sweep was recorded, until the last submission": f"{recorded:.1f}, {lasted:.1f}",
        **_spread("submission: ", latencies),
        "CPU s of submitters, of watchers": f"{sum(answer[2] for answer in answers):.1f}, {watched_cpu:.1f}",
    }


def submit_all(url: str, tokens: Sequence[str], each: int, start: Barrier, told: "Queue[Any]") -> None:
    """Submit with each token, a thread for each; tell the latencies in ms, the ids and the CPU seconds."""
    from desks import SPEC

    from services.client.client import Client

    latencies: list[float] = []
    made: set[str] = set()

    def submit(token: str) -> None:
        client = Client(url, token)
        for index in range(each):
            key = f"{index - 1 if index % 5 == 4 else index}"  # each fifth repeats the one before
            began = time.perf_counter()
            one, _ = client.submit({**SPEC, "seeds": [int(key)]}, key=key)
            latencies.append(1000 * (time.perf_counter() - began))
            made.add(one.id)

    with ThreadPoolExecutor(len(tokens)) as pool:
        start.wait(PATIENCE_SECONDS)
        before = time.process_time()
        deque(pool.map(submit, tokens), maxlen=0)  # raises what one of them raised
    told.put((latencies, made, time.process_time() - before))


def watch_all(url: str, id: str, tokens: Sequence[str], start: Barrier, saw: "Queue[Any]") -> None:
    """Follow a submission with each token; tell the ids of events that each saw, and the CPU seconds."""

    async def watch(token: str, following: asyncio.Semaphore) -> list[int]:
        place = urlsplit(url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        request = (
            f"GET /v1/sweeps/{id}/events HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        writer.write(request.encode())
        seen = []
        async for line in reader:
            if line.startswith(b"event: submission"):
                following.release()
            elif line.startswith(b"id: "):
                seen.append(int(line[4:]))
            elif line == b"0\r\n":  # the last chunk
                break
        writer.close()
        return seen

    async def every() -> Sequence[Sequence[int]]:
        following = asyncio.Semaphore(0)
        async with asyncio.TaskGroup() as group:  # the first that raises ends all
            watchers = [group.create_task(watch(token, following)) for token in tokens]
            for _ in tokens:
                await following.acquire()
            await asyncio.to_thread(start.wait, PATIENCE_SECONDS)
        return [watcher.result() for watcher in watchers]

    try:
        seen = asyncio.run(every())
    except BaseException:
        start.abort()
        raise
    saw.put((seen, time.process_time()))


def _told(answers: "Queue[Any]", clients: Sequence[SpawnProcess]) -> Any:
    """Wait for the next answer; exit after `PATIENCE_SECONDS`, or as soon as a client has failed and printed its error."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        with suppress(Empty):
            return answers.get(timeout=1)
        if any(client.exitcode for client in clients):
            sys.exit("a client failed, as said above")
    sys.exit(f"no answer within {PATIENCE_SECONDS:.0f} s")


def _distinct(each: int) -> int:
    return len({index - 1 if index % 5 == 4 else index for index in range(each)})


def _spread(what: str, values: Sequence[float]) -> dict[str, str]:
    ordered = sorted(values)
    figures = (statistics.median(ordered), ordered[int(0.99 * len(ordered))], ordered[-1])
    return {f"{what}p50, p99, longest ms": ", ".join(f"{one:.0f}" for one in figures)}


if __name__ == "__main__":
    main()
