"""Kinds of training: `classify`, with its compiled functions in `compiled` and the norm's equation in `equation`."""
