"""``python -m sweeps.processes MODULE [FD]``: answer one question, in a process with the environment of a worker.

``main`` of the module gets the question, which is JSON on standard input; what it returns is written as JSON to a file
descriptor, by default standard output.
"""

import json
import sys
from gc import set_threshold
from importlib import import_module

from sweeps.processes import OBJECTS_PER_COLLECTION


def _answer() -> None:
    set_threshold(OBJECTS_PER_COLLECTION)
    module, *descriptor = sys.argv[1:]
    with open(int(*descriptor) if descriptor else sys.stdout.fileno(), "w", encoding="utf-8") as stream:
        json.dump(import_module(module).main(json.load(sys.stdin)), stream)


if __name__ == "__main__":
    _answer()
