"""What sweeps that were run here say of the paper's claims, as tables in Markdown.

abel run fig-3-cifar10 --data-dir DIRECTORY && python bench/claims.py fig-3-cifar10
"""

import argparse

from services.settings import Settings
from services.tracking import runs
from sweeps.ledger.ledger import Ledger
from sweeps.results.claims import paper


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "sweeps", nargs="*", help="names of sweeps that were run here; without one there is nothing to say"
    )
    settings = Settings.from_env()
    for name in parser.parse_args().sweeps:
        ledger = Ledger.open(settings.ledger_url)
        try:
            found = ledger.sweep(name)
        finally:
            ledger.close()
        print(f"{name}\n\n| the paper | held where | here | the numbers |\n|---|---|---|---|")
        for told in paper.of(runs.load(settings.tracking_uri, found.id)):
            print(f"| {told.says} ({told.source}) | {told.rule} | {told.here} | {told.numbers} |")


if __name__ == "__main__":
    main()
