"""Sentences per second of fine-tuning ALBERT, ours and Hugging Face's in PyTorch, on one thread of a CPU.

    python bench/glue_step.py --size mini                       # ours
    python bench/glue_step.py --size mini --side huggingface    # needs torch and transformers

Each side runs in a process of its own. `mini` is the network of table-s1-mini, `base` ALBERT base with 16 sentences of 128
pieces. Ours is `abel`'s whole step, with penalty, clip and norms; theirs is Adam with the clip. Seconds are of the processor, as
other programs may run: forward, backward and update of all steps after the first, which compiles.
"""

import argparse
import os
import time
from collections.abc import Callable

import numpy as np

SIZES = {
    # vocabulary, embedding, hidden, layers, heads, intermediate, positions; batch, steps
    "mini": ((2000, 64, 64, 2, 2, 128, 32), 32, 10),
    "base": ((30_000, 128, 768, 12, 12, 3072, 512), 16, 1),
}
WIDTH = {"mini": 32, "base": 128}
RATE = 1e-5


def batch(size: str, examples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pieces, lengths and labels, drawn at random."""
    random = np.random.default_rng(0)
    vocabulary = SIZES[size][0][0]
    pieces = random.integers(5, vocabulary, size=(examples, WIDTH[size]))
    return pieces, random.integers(WIDTH[size] // 2, WIDTH[size] + 1, size=examples), random.integers(2, size=examples)


def ours(size: str) -> Callable[[], None]:
    import jax

    from workers.glue.albert import Albert
    from workers.glue.compiled import GlueRecipe, Sentences, initial_glue_state, train_glue
    from workers.optimizers.adam import Adam

    sizes, examples, steps = SIZES[size]
    names = ("vocabulary", "embedding", "hidden", "layers", "heads", "intermediate", "positions")
    model = Albert(**dict(zip(names, sizes, strict=True)))
    recipe = GlueRecipe(model=model, optimizer=Adam().static(), outputs=2, is_score=False, l2_on="all")
    hyper = {name: np.float32(value) for name, value in ({"l2": 0.0, "clip": 1.0} | Adam().hyper()).items()}
    pieces, lengths, labels = batch(size, examples)
    data = Sentences(
        pieces.astype(np.uint16), lengths.astype(np.int32), lengths.astype(np.int32), labels.astype(np.int32)
    )
    states = [initial_glue_state(recipe, hyper, {}, jax.random.key(0))]
    rates = np.full(steps, RATE, np.float32)

    def run() -> None:
        state, sums = train_glue(recipe, states.pop(), data, hyper, rates, examples)
        states.append(jax.block_until_ready(state))
        assert np.isfinite(sums.loss).all()

    return run


def huggingface(size: str) -> Callable[[], None]:
    import torch
    from transformers import AlbertConfig, AlbertForSequenceClassification

    torch.set_num_threads(1)
    sizes, examples, steps = SIZES[size]
    names = (
        *("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers"),
        *("num_attention_heads", "intermediate_size", "max_position_embeddings"),
    )
    dropouts = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob"), 0.0)
    model = AlbertForSequenceClassification(AlbertConfig(**dict(zip(names, sizes, strict=True)), **dropouts))
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    pieces, lengths, labels = map(torch.tensor, batch(size, examples))
    mask = (torch.arange(pieces.shape[1]) < lengths[:, None]).long()

    def run() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            model(input_ids=pieces, attention_mask=mask, labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="mini")
    parser.add_argument("--side", choices=("ours", "huggingface"), default="ours")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    os.environ |= {"NPROC": "1", "OMP_NUM_THREADS": "1"}
    run = {"ours": ours, "huggingface": huggingface}[given.side](given.size)
    _, examples, steps = SIZES[given.size]
    run()
    taken = []
    for _ in range(given.repeats):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    best, middle = min(taken), sorted(taken)[len(taken) // 2]
    rate = examples * steps / middle
    print(
        f"{given.side} {given.size}: {rate:.1f} sentences per CPU-second ({middle / steps:.4f} s a step, best {best / steps:.4f})"
    )


if __name__ == "__main__":
    main()
