"""Cost of the ledger on SQLite and on PostgreSQL: opening it, committing 1 and 50 records.

    python bench/ledger.py [URL ...]

Without a URL, it measures SQLite in a temporary directory. With the URL of an empty PostgreSQL database, it measures both.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from sweeps.ledger.entries import Batch
from sweeps.ledger.ledger import Ledger
from sweeps.spec.sweep import parse_document
from sweeps.urls import of_sqlite
from workers.reports import Record
from workers.trajectory import Identity

ROUNDS = 200
SPEC = parse_document(
    {
        "name": "bench",
        "program": {
            "task": "classify",
            "model": {"kind": "small_cnn"},
            "data": {"kind": "digit_pairs"},
            "optimizer": {"kind": "sgd"},
            "batch_size": 16,
        },
        "epochs": 2,
        "seeds": [0],
        "arms": {"constant": {"schedule": {"kind": "constant", "learning_rate": 0.1}}},
    }
)
METRICS = {f"metric {number}": number / 7 for number in range(25)} | {"seconds": 0.5}


def milliseconds(call, rounds=ROUNDS):
    """Return median and 95th percentile of single calls."""
    taken = []
    for number in range(rounds):
        began = time.perf_counter()
        call(number)
        taken.append(1000 * (time.perf_counter() - began))
    return median(taken), sorted(taken)[int(0.95 * rounds)]


def measure(url):
    began = time.perf_counter()
    ledger = Ledger.open(url)
    first = 1000 * (time.perf_counter() - began)
    trials = SPEC.expand()
    identity = Identity(program={}, data="", examples=96, numerics={}, code="")
    sweep = ledger.create_sweep(SPEC.name, SPEC.to_dict(), trials, {trial.program: identity for trial in trials})
    invocation = ledger.begin_invocation(sweep)

    def commit(size):
        def call(number):
            keys = [f"{sweep}/{size}/{number}/{i}" for i in range(size)]
            records = [Record(key=key, parent=key, epoch=1, metrics=METRICS, finished_at_ms=1) for key in keys]
            ledger.commit(sweep, invocation, Batch(records=records, events=[("progress", {"keys": keys})]))

        return call

    rows = {
        "open": milliseconds(lambda _: Ledger.open(url).close()),
        "commit of 1 record": milliseconds(commit(1)),
        "commit of 50 records": milliseconds(commit(50)),
    }
    ledger.close()
    print(f"{url.partition(':')[0]}: first opening {first:.0f} ms")
    for name, (middle, high) in rows.items():
        print(f"  {name}: median {middle:.2f} ms, 95th percentile {high:.2f} ms")


def main(urls):
    with tempfile.TemporaryDirectory() as directory:
        for url in [of_sqlite(Path(directory, "ledger.db")), *urls]:
            measure(url)


if __name__ == "__main__":
    main(sys.argv[1:])
