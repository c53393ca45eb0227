"""Recorded states under the keys of other code, once replays have shown that it computes the same bits.

rekeying   the keys that the recorded epochs of a sweep have with other code
replays    which epochs are trained again to compare the two, and which of them differ
"""
