"""Images per second of a stream compared with a bare loop that decodes, crops and resizes the same JPEGs on the same cores.

    python bench/stream.py --photos DIR --rounds 9

DIR holds JPEGs. They are written as a TFDS set, each several times. The bare loop has the compressed bytes in memory and does to
each image what training does, on as many threads as the stream, but without records, labels and batches; `decode` is that loop
without crop and resize. The sides alternate in one run, and ratios are taken per round. On a machine that has other work
the rate per second of processor time, of all threads, says more than the rate per second.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from tfds_files import TfdsWriter  # noqa: E402

from workers.data import crops  # noqa: E402
from workers.data.batches import decoding_threads  # noqa: E402
from workers.data.stream import Stream  # noqa: E402
from workers.data.tfds import Tfds  # noqa: E402

PHOTOS = ROOT.parent / "shared" / "data" / "images" / "imagenet-sample"
WORDS = (1, 2)
BATCH = 32


def written(photos: list[bytes], copies: int, folder: Path) -> Stream:
    """The photographs as a streamed set."""
    writer = TfdsWriter(folder)
    examples = [{"image": photo, "label": index % 10} for index, photo in enumerate(photos * copies)]
    features = {"image": writer.image(None, None, 3, encoding="jpeg"), "label": writer.label(10)}
    writer.write("photos", {"train": examples, "test": examples[:BATCH]}, features, shards=4)
    found = Tfds(name="photos", stream=True).load(folder)
    assert isinstance(found, Stream)
    return found


def decoded(photo: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


def shown(photo: bytes, position: int, side: int) -> np.ndarray:
    whole = decoded(photo)
    crop = crops.training_crop(*whole.shape[:2], side, crops.Draws(WORDS, position))
    part = whole[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    resized = cv2.resize(part, (side, side), interpolation=cv2.INTER_CUBIC)
    return cv2.cvtColor(cv2.flip(resized, 1) if crop.is_flipped else resized, cv2.COLOR_BGR2RGB)


def sides(photos: list[bytes], found: Stream, threads: int) -> dict[str, Callable[[], int]]:
    """What is timed: each returns how many images it made."""
    order = np.random.default_rng(0).permutation(found.examples)
    usable = found.examples - found.examples % BATCH

    def bare(make: Callable[[int], object]) -> int:
        with ThreadPoolExecutor(threads) as pool:
            return sum(1 for _ in pool.map(make, range(usable)))

    return {
        "stream": lambda: sum(len(labels) for _, labels in found.train_batches(order, range(usable), WORDS, BATCH)),
        "bare": lambda: bare(lambda position: shown(photos[order[position] % len(photos)], position, found.side)),
        "decode": lambda: bare(lambda position: decoded(photos[order[position] % len(photos)])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--copies", type=int, default=4, help="times that each photograph is in the set")
    options = parser.parse_args()
    photos = [file.read_bytes() for file in sorted(options.photos.glob("*.JPEG"))]
    if not photos:
        print(f"no JPEGs in {options.photos}: nothing to measure (--photos)")
        return
    cv2.setNumThreads(1)
    threads = decoding_threads()
    with tempfile.TemporaryDirectory() as folder:
        ways = sides(photos, written(photos, options.copies, Path(folder)), threads)
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for number in range(options.rounds + 1):
            for name, way in ways.items():
                start, used = time.perf_counter(), time.process_time()
                count = way()
                if number:  # the first warms up
                    taken = time.perf_counter() - start, time.process_time() - used
                    rates[name].append((count / taken[0], count / taken[1]))
    print(f"{len(photos)} photographs at 224 pixels, {threads} threads, {options.rounds} rounds\n")
    print("| side | images/s, median (least to most) | of the bare loop | images per CPU-second | of the bare loop |")
    print("|---|---|---|---|---|")
    for name, own in rates.items():
        cells = []
        for column in (0, 1):
            values = [round_[column] for round_ in own]
            ratios = [value / bare[column] for value, bare in zip(values, rates["bare"], strict=True)]
            cells += [_spread(values, ".0f"), _spread(ratios, ".2f")]
        print(f"| {name} | {' | '.join(cells)} |")


def _spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()
