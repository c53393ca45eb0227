"""MinAtar's and Atari's games: what they give, the same bits when a place is gone to again, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from imports import fail_import

from workers.data import DataError
from workers.games.atari import Atari
from workers.games.emulator import HELD, LONGEST
from workers.games.minatar import RETURNS, MinAtar


def play(game: str, actions: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    emulators = Atari(game=game).load().emulators(actions.shape[1])
    emulators.begin()
    return [(emulators.observe(), *emulators.step(one)) for one in actions]


def test_a_game_of_atari_goes_on_from_a_place_with_the_same_bits() -> None:
    actions = np.random.default_rng(0).integers(0, 6, (30, 2))
    game = Atari(game="pong").load()
    assert (game.shape, game.actions, game.scale) == ((84, 84, 4), 6, 255.0)
    emulators, other = game.emulators(2), game.emulators(2)
    emulators.begin()
    for one in actions[:20]:
        emulators.step(one)
    place = emulators.place()
    assert place.lengths.tolist() == [20, 20] and place.actions.shape == (2, LONGEST)
    other.move_to(place)
    emulators.move_to(place)
    for one in actions[20:]:
        seen = [np.stack((both.observe().astype(np.float32),)) for both in (emulators, other)]
        np.testing.assert_array_equal(*seen)
        for left, right in zip(emulators.step(one), other.step(one), strict=True):
            np.testing.assert_array_equal(left, right)


def test_stacks_hold_the_last_four_screens() -> None:
    actions = np.random.default_rng(1).integers(0, 6, (6, 1))
    seen = [given[0][0] for given in play("pong", actions)]
    assert all((seen[0][:, :, 0] == seen[0][:, :, layer]).all() for layer in range(4))
    for before, after in zip(seen, seen[1:], strict=False):
        np.testing.assert_array_equal(after[:, :, :-1], before[:, :, 1:])
    assert any((one[:, :, -1] != one[:, :, -2]).any() for one in seen)


def test_rewards_are_signs_and_scores_are_points() -> None:
    actions = np.random.default_rng(2).integers(0, 6, (400, 1))
    given = play("qbert", actions)
    scores, rewards = (np.concatenate([one[part] for one in given]) for part in (2, 1))
    assert scores.max() >= 25
    assert set(rewards.tolist()) <= set(range(HELD + 1)) and (rewards > 0).sum() == (scores > 0).sum()


@pytest.mark.parametrize("game", ["pong", "qbert", "seaquest", "assault"])  # the last one begins at random
def test_an_episode_has_nothing_of_those_before_it(game: str) -> None:
    loaded = Atari(game=game, returns=(-1e6, 1e6, 0.0)).load()
    used, fresh = loaded.emulators(1), loaded.emulators(1)
    random = np.random.default_rng(3)
    begins, actions = fresh.begin(), random.integers(0, loaded.actions, (20, 1))
    expected = [(*fresh.step(one), fresh.observe()) for one in actions]
    used.begin()
    for length in (7, 90):
        for one in random.integers(0, loaded.actions, (length, 1)):
            used.step(one)
        for one, other in zip(used.begin(), begins, strict=True):
            np.testing.assert_array_equal(one, other)
        for one, given in zip(actions, expected, strict=True):
            for left, right in zip((*used.step(one), used.observe()), given, strict=True):
                np.testing.assert_array_equal(left, right)


def test_an_episode_that_ends_is_followed_by_another() -> None:
    emulators = Atari(game="qbert").load().emulators(1)
    begins = emulators.begin()
    random = np.random.default_rng(3)
    while not emulators.step(random.integers(0, 6, 1)).over[0]:
        pass
    place = emulators.place()
    assert place.lengths.tolist() == [0]
    np.testing.assert_array_equal(place.observations, begins.observations)
    assert (place.observations[0, :, :, 0] == place.observations[0, :, :, 3]).all()


def test_a_game_of_minatar_begins_again_when_an_episode_ends() -> None:
    game, agents = MinAtar(game="breakout").load(), 4
    assert (game.shape, game.actions, game.scale) == ((10, 10, 4), 3, 1.0)

    @jax.jit
    def played(key: jax.Array) -> tuple[jax.Array, ...]:
        def step(now: tuple[dict[str, jax.Array], jax.Array], key: jax.Array) -> tuple[object, object]:
            state, seen = now
            state, following, given = game.step(key, state, jnp.zeros(agents, jnp.int32))
            return (state, following), (seen, state["time"], *given)

        return jax.lax.scan(step, game.reset(key, agents), jax.random.split(key, 40))[1]

    seen, times, rewards, scores, over = played(jax.random.key(0))
    assert seen.dtype == jnp.uint8 and seen.shape == (40, agents, 10, 10, 4)
    assert over.any() and (times[over] == 0).all()
    np.testing.assert_array_equal(rewards, scores)


def test_fingerprints_differ_by_game(capfd: pytest.CaptureFixture[str]) -> None:
    digests = {Atari(game=game).load().digest for game in ("pong", "qbert")}
    assert capfd.readouterr() == ("", ""), "the emulator says nothing"
    digests |= {MinAtar(game=game).load().digest for game in RETURNS}
    assert len(digests) == 2 + len(RETURNS)


def test_an_unknown_game_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="did you mean 'breakout'"):
        MinAtar(game="break_out")
    with pytest.raises(ValueError, match="got 'seaqest'; did you mean 'seaquest'"):
        Atari(game="seaqest").load()
    with pytest.raises(ValueError, match="game must be a name in lower case, got 'Pong'"):
        Atari(game="Pong")


@pytest.mark.parametrize("game", ["combat", "joust", "maze_craze", "warlords"])
def test_a_rom_that_the_emulator_does_not_support_is_refused(game: str) -> None:
    with pytest.raises(ValueError, match=f"game must be the name of a game in lower case, got '{game}'"):
        Atari(game=game, returns=(0.0, 1.0, 0.0)).load()


def test_a_game_whose_returns_are_not_known_needs_them() -> None:
    with pytest.raises(ValueError, match="returns must be given for a game .* got null for 'boxing'"):
        Atari(game="boxing").load()
    assert Atari(game="boxing", returns=(-100.0, 100.0, 0.0)).load().returns.low == -100
    with pytest.raises(ValueError, match="low and high must be finite"):
        Atari(game="boxing", returns=(1.0, 0.0, 0.0))


GAMES = pytest.mark.parametrize(("source", "module"), [(Atari(), "ale_py"), (MinAtar(), "gymnax")])


@GAMES
def test_without_the_extra_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, source: Atari | MinAtar, module: str
) -> None:
    fail_import(monkeypatch, module, ModuleNotFoundError(f"No module named '{module}'", name=module))
    with pytest.raises(DataError, match=r"which is not installed: pip install 'abel-sweeps\[games\]'"):
        source.load()


@GAMES
@pytest.mark.parametrize(
    "error", [ImportError("libz.so: cannot open"), ModuleNotFoundError("No module named 'chex'", name="chex")]
)
def test_an_extra_that_is_broken_shows_why(
    monkeypatch: pytest.MonkeyPatch, source: Atari | MinAtar, module: str, error: ImportError
) -> None:
    fail_import(monkeypatch, module, error)
    with pytest.raises(DataError, match=f"installed but cannot be imported: {type(error).__name__}: {error}"):
        source.load()
