"""Frames per second of PPO in an emulator compared with a bare loop of it, the share of the update, and returns by chance.

    python bench/games.py --game pong --loops 3
    python bench/games.py --returns 12
    python bench/games.py --begins 5

Without options it times loops of the paper's program: acting and learning together, and as many random actions in a bare
emulator, which prepares no screens. Rates are frames of the emulator per second of processor time, of all threads, because it
says more than the rate per second on a machine that has other work. `--returns` plays so many episodes of uniformly random
actions in each game whose returns are known here, and prints their mean with its standard error. `--begins` times so many
beginnings of an episode in these games, and as many loads of the ROM.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from workers.games import atari, minatar
from workers.games.emulation import Emulation
from workers.games.emulator import HELD, EmulatedGame, Emulators
from workers.models.nature_cnn import NatureCnn
from workers.optimizers.adam import Adam
from workers.tasks.ppo import Ppo, PpoProgram

RATE = 0.00025


def seconds(work: Callable[[], object]) -> float:
    """Processor time of all threads."""
    began = time.process_time()
    jax.block_until_ready(work())
    return time.process_time() - began


def timed(game: str, loops: int, agents: int, steps: int) -> None:
    program = PpoProgram(
        task=Ppo(loops=1),
        model=NatureCnn(),
        data=atari.Atari(game=game),
        optimizer=Adam(),
        agents=agents,
        actor_steps=steps,
        batch_size=agents * steps // 4,
    )
    training = program.task.build(program, lambda data: data.load(None))
    state, updates = training.init(jax.random.key(0)), 4 * program.passes
    player = Emulation(training.environment, agents)  # a second one: that of the training stays where its state is
    player.first_state(training.agent, training.hyper, jax.random.key(1))
    rates, frames = np.full(updates, RATE, np.float32), agents * (steps + 1) * HELD
    emulator = training.environment.emulators(1)._ones[0]
    emulator.begin()  # with its ROM loaded
    actions = np.random.default_rng(0).integers(0, training.environment.actions, agents * (steps + 1)).tolist()
    found: list[tuple[float, float, float]] = []
    for number in range(loops + 1):
        key = jax.random.key(number)
        play = seconds(partial(player._played, training.agent, state.learner.params, key))
        bare = seconds(partial(bare_loop, emulator, actions))
        began = time.process_time()
        state, _ = training.advance(state, training.hyper, rates, key, program.batch_size, (0, updates))
        jax.block_until_ready(state.learner.params)
        if number:  # the first compiles
            found.append((frames / bare, frames / play, frames / (time.process_time() - began)))
    bare, play, whole = (float(np.median(column)) for column in zip(*found, strict=True))
    print(f"| {game} | {agents} x {steps} | {bare:,.0f} | {play:,.0f} | {whole:,.0f} | {1 - whole / play:.0%} |")


def bare_loop(one: Any, actions: Sequence[int]) -> None:
    """Hold each action, as all agents do together, in one emulator."""
    for action in actions:
        for _ in range(HELD):
            one._ale.act(one._legal[action])
        if one._ale.game_over():
            one._ale.reset_game()


def beginnings(times: int) -> None:
    for name in atari.RETURNS:
        emulator = atari.Atari(game=name).load().emulators(1)._ones[0]
        emulator.begin()  # loads the ROM for the first time
        begins = [seconds(emulator.begin) for _ in range(times)]
        loads = [seconds(partial(emulator._ale.loadROM, emulator.rom)) for _ in range(times)]
        print(f"| {name} | {1000 * np.median(begins):.1f} | {1000 * np.median(loads):.0f} |", flush=True)


def random_returns(episodes: int) -> None:
    for name in atari.RETURNS:
        game = atari.Atari(game=name).load()
        told("atari", name, emulated_returns(game, game.emulators(1), episodes))
    for name in minatar.RETURNS:
        told("minatar", name, traced_returns(minatar.MinAtar(game=name).load(), 256))


def emulated_returns(game: EmulatedGame, emulators: Emulators, episodes: int) -> list[float]:
    random, found, running = np.random.default_rng(0), [], 0.0
    emulators.begin()
    while len(found) < episodes:
        given = emulators.step(random.integers(0, game.actions, 1))
        running += float(given.scores[0])
        if given.over[0]:
            found.append(running)
            running = 0.0
    return found


def traced_returns(game: minatar.TracedGame, agents: int) -> list[float]:
    """The returns of every agent's first episode: all episodes of a fixed time would favour short ones."""

    @jax.jit
    def played(key: jax.Array) -> jax.Array:
        def step(now: tuple, key: jax.Array) -> tuple[tuple, None]:
            state, total, alive = now
            act_key, game_key = jax.random.split(key)
            actions = jax.random.randint(act_key, (agents,), 0, game.actions)
            state, _, given = game.step(game_key, state, actions)
            return (state, total + alive * given.scores, alive & ~given.over), None

        state, _ = game.reset(key, agents)
        begun = state, jnp.zeros(agents), jnp.ones(agents, bool)
        return jax.lax.scan(step, begun, jax.random.split(key, 1001))[0][1]

    return np.asarray(played(jax.random.key(0))).tolist()


def told(kind: str, name: str, returns: list[float]) -> None:
    error = np.std(returns, ddof=1) / len(returns) ** 0.5
    print(f"| {kind} | {name} | {len(returns)} | {np.mean(returns):.2f} | {error:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--game", default="pong")
    parser.add_argument("--loops", type=int, default=3)
    parser.add_argument("--agents", type=int, default=8)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--returns", type=int, default=0)
    parser.add_argument("--begins", type=int, default=0)
    given = parser.parse_args()
    if given.begins:
        print("| game | begin an episode, ms | load its ROM, ms |\n|---|---|---|")
        beginnings(given.begins)
        return
    if given.returns:
        print("| data | game | episodes | mean return | standard error |\n|---|---|---|---|---|")
        random_returns(given.returns)
        return
    print(
        "| game | agents x steps | bare frames/s | with acting | with learning | learning |\n|---|---|---|---|---|---|"
    )
    timed(given.game, given.loops, given.agents, given.steps)


if __name__ == "__main__":
    main()
