"""Pre-training of ALBERT on plain texts: its lines, the masks, and the training of `workers.tasks.masked_lm`."""
