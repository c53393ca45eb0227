"""Kinds of training, one module each; `workers.contracts.Training` is their interface to the training loop."""
