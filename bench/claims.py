"""Markdown tables of the paper's claims and the verdicts of sweeps that were run here.

abel run fig-3-cifar10 --data-dir DIRECTORY && python bench/claims.py fig-3-cifar10
"""

import argparse
from contextlib import closing

from services.settings import Settings
from sweeps.ledger.ledger import Ledger
from sweeps.results.claims import paper
from sweeps.results.guessing import guessing_error
from sweeps.results.load import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="*", help="names of sweeps that were run here; without any, nothing is printed")
    settings = Settings.from_env()
    for name in parser.parse_args().sweeps:
        with closing(Ledger.open(settings.ledger_url)) as ledger:
            sweep = ledger.sweep(name)
            frames = load(ledger, sweep)
            guess = guessing_error(sweep, ledger.trials(sweep.id)[0].program, settings.data_dir)
        print(f"{name}\n\n| the paper | rule | here | the numbers |\n|---|---|---|---|")
        for told in paper.claims_of(frames, guess):
            source = f"{told.source}, {told.row}" if told.row else told.source
            print(f"| {told.says} ({source}) | {told.rule} | {told.here} | {told.numbers} |")


if __name__ == "__main__":
    main()
