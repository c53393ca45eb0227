"""The verbs: each checks its input, does one thing, and returns a frozen value. The CLI and notebooks call them."""
