"""The ``abel`` command: thin wrappers around the verbs, and what they print."""
