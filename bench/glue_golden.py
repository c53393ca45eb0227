"""Writes the files in tests/workers/glue/golden: a tiny random ALBERT as the libraries store it, and what it computes there.

    python bench/glue_golden.py --huggingface tests/workers/glue/golden     # needs torch and transformers
    python bench/glue_golden.py --tensorflow tests/workers/glue/golden      # needs tensorflow; after the first

The first writes albert.safetensors by `AlbertModel.save_pretrained` and its hidden states in albert.npz. The second stores the
same weights as ALBERT's own code does, by a `Saver`, under the names of its variables. The tests need neither library.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {
    "vocab_size": 50,
    "embedding_size": 12,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
}
LENGTHS = (9, 5, 7)  # pieces of each example
SECONDS = (9, 3, 4)  # where the second sentence begins; the first example has none
SCALE = 0.3  # of all parameters: at the usual 0.02 an error in a nonlinearity would not show


def inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lengths, seconds = np.array(LENGTHS, np.int32), np.array(SECONDS, np.int32)
    pieces = np.random.default_rng(0).integers(5, SIZES["vocab_size"], size=(len(LENGTHS), max(LENGTHS)))
    positions = np.arange(pieces.shape[1])
    return np.where(positions < lengths[:, None], pieces, 0).astype(np.int32), lengths, seconds


def huggingface(folder: Path) -> None:
    import torch
    from transformers import AlbertConfig, AlbertModel

    pieces, lengths, seconds = inputs()
    positions = np.arange(pieces.shape[1])
    mask = positions < lengths[:, None]
    sentences = mask & (positions >= seconds[:, None])
    arrays: dict[str, Any] = {"pieces": pieces, "lengths": lengths, "seconds": seconds}
    torch.manual_seed(0)
    found: dict[str, Any] = {}
    for activation in ("gelu_new", "gelu"):
        config = AlbertConfig(**SIZES, hidden_act=activation, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        model = AlbertModel(config).eval()
        with torch.no_grad():
            for name, value in model.named_parameters():
                found.setdefault(name, value + SCALE * torch.randn_like(value))
                value.copy_(found[name])
            output = model(
                input_ids=torch.tensor(pieces),
                attention_mask=torch.tensor(mask),
                token_type_ids=torch.tensor(sentences.astype(np.int64)),
            )
        arrays |= {
            f"hidden_{activation}": output.last_hidden_state.numpy(),
            f"pooled_{activation}": output.pooler_output.numpy(),
        }
        if activation == "gelu_new":
            with tempfile.TemporaryDirectory() as written:
                model.save_pretrained(written)
                (folder / "albert.safetensors").write_bytes((Path(written) / "model.safetensors").read_bytes())
    np.savez_compressed(folder / "albert.npz", **arrays)


# The variables of google-research/albert's modeling.py, whose kernels have the inputs first.
VARIABLES = {
    "embeddings/word_embeddings": "embeddings.word_embeddings.weight",
    "embeddings/position_embeddings": "embeddings.position_embeddings.weight",
    "embeddings/token_type_embeddings": "embeddings.token_type_embeddings.weight",
}
PREFIXES = {
    "embeddings/LayerNorm": "embeddings.LayerNorm",
    "encoder/embedding_hidden_mapping_in": "encoder.embedding_hidden_mapping_in",
    "pooler/dense": "pooler",
}
INNER = {
    "attention_1/self/query": "attention.query",
    "attention_1/self/key": "attention.key",
    "attention_1/self/value": "attention.value",
    "attention_1/output/dense": "attention.dense",
    "LayerNorm": "attention.LayerNorm",
    "ffn_1/intermediate/dense": "ffn",
    "ffn_1/intermediate/output/dense": "ffn_output",
    "LayerNorm_1": "full_layer_layer_norm",
}


def tensorflow(folder: Path) -> None:
    import tensorflow as tf
    from safetensors.numpy import load_file

    stored = load_file(folder / "albert.safetensors")
    prefixes = PREFIXES | {
        f"encoder/transformer/group_0/inner_group_0/{tf_name}": f"encoder.albert_layer_groups.0.albert_layers.0.{name}"
        for tf_name, name in INNER.items()
    }
    values = {name: stored[theirs] for name, theirs in VARIABLES.items()}
    for prefix, theirs in prefixes.items():
        is_norm = "LayerNorm" in prefix
        values[f"{prefix}/{'gamma' if is_norm else 'kernel'}"] = stored[f"{theirs}.weight"].T
        values[f"{prefix}/{'beta' if is_norm else 'bias'}"] = stored[f"{theirs}.bias"]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in values.items():
            tf.compat.v1.get_variable(f"bert/{name}", initializer=value)
            tf.compat.v1.get_variable(f"bert/{name}/adam_m", initializer=np.zeros(1, np.float32))
        tf.compat.v1.train.get_or_create_global_step()
        session.run(tf.compat.v1.global_variables_initializer())
        with tempfile.TemporaryDirectory() as written:
            tf.compat.v1.train.Saver().save(session, f"{written}/model.ckpt-best", write_meta_graph=False)
            for file in Path(written).glob("model.ckpt-best.*"):
                (folder / file.name).write_bytes(file.read_bytes())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--huggingface", type=Path)
    parser.add_argument("--tensorflow", type=Path)
    given = parser.parse_args()
    if given.huggingface:
        huggingface(given.huggingface)
    if given.tensorflow:
        tensorflow(given.tensorflow)
