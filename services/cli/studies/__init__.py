"""The command `abel study` and its output."""
