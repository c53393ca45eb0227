"""The commands of the service: run one, and use one that somebody else runs."""
