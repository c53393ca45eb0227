"""A gang: one process on each of several hosts, all under one mesh, which train one cohort together.

membership   joins the processes by `jax.distributed`
lockstep     makes every process take the leader's steps
"""
