"""Sweeps that people asked a service for: submissions, the tokens of those people, and the log of what they did."""
