"""Translation: parallel texts, subwords, batches of static shapes, an encoder-decoder Transformer, beam search and BLEU.

Axes: N pairs, B batch, S source tokens, T target tokens, V vocabulary, K beams, H heads, D features.
"""

PAD = 0  # the token that fills up rows and begins every target
