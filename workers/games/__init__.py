"""Environments that an agent is trained in, and proximal policy optimisation over them (the task is `workers.tasks.ppo`).

`minatar` and `atari` are the sources of a spec; `environment` is what they give. `learning` has the algorithm, `rollouts` plays
games that JAX can trace, and `emulation` those that run in an emulator.
"""
