"""Where workers run on a Ray cluster: nodes of one kind, as states are only shared between equal processors or accelerators.

A worker is one process, or a gang of processes on several nodes.
"""
