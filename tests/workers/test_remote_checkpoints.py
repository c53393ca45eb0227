import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import jax.numpy as jnp
import numpy as np
import obstore
import pytest
from object_stores import ObjectServer, object_server

from workers.checkpoints import CheckpointDamaged, StoreError, open_checkpoints, remote
from workers.checkpoints.local import MANIFEST
from workers.checkpoints.packing import pack
from workers.checkpoints.remote import RemoteCheckpoints
from workers.checkpoints.stores import ObjectStore

KEY, OTHER = "ab" * 32, "cd" * 32
STATE = {"weights": jnp.arange(6, dtype=jnp.float32).reshape(2, 3), "odd": jnp.array([jnp.nan, -0.0, 1e-40])}
Machine = Callable[[str], RemoteCheckpoints]


@pytest.fixture(scope="module", params=["s3", "gs"])
def server(request: pytest.FixtureRequest) -> Iterator[ObjectServer]:
    with object_server(request.param) as running:
        yield running


@pytest.fixture
def url(server: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return f"{server.url}/{tmp_path.name}"


@pytest.fixture
def machine(url: str, tmp_path: Path) -> Machine:
    """The checkpoints as a machine of this name sees them, with its own cache."""
    return lambda name: RemoteCheckpoints(url, tmp_path / name)


@pytest.fixture
def objects(url: str) -> ObjectStore:
    return ObjectStore(f"{url}/checkpoints")


def same(found: Any, state: dict[str, Any] = STATE) -> bool:
    return all(np.asarray(found[name]).tobytes() == np.asarray(state[name]).tobytes() for name in state)


def name_of(objects: ObjectStore) -> str:
    (stored,) = objects.all()
    return stored.name


def put(objects: ObjectStore, name: str, content: bytes) -> None:
    obstore.put(objects._store, name, content)


def test_a_state_comes_back_bit_for_bit_on_another_machine(machine: Machine) -> None:
    machine("one").save(KEY, 3, STATE)
    two = machine("two")
    assert KEY in two
    assert OTHER not in two
    assert same(two.restore(KEY, like=STATE))
    with pytest.raises(FileNotFoundError):
        two.restore(OTHER, like=STATE)


def test_a_checkpoint_is_one_object_and_the_first_save_of_a_key_counts(machine: Machine, objects: ObjectStore) -> None:
    one = machine("one")
    one.save(KEY, 3, STATE)
    (before,) = objects.all()
    machine("two").save(KEY, 3, STATE)
    assert list(objects.all()) == [before]
    assert one.sizes() == {KEY: before.size}


def test_eight_savers_of_one_key_at_once_leave_one_object(machine: Machine, objects: ObjectStore) -> None:
    savers = [machine(str(which)) for which in range(8)]
    for turn in range(3):
        key, together = f"{turn:02}" * 32, Barrier(8)

        def save(saver: RemoteCheckpoints, key: str = key, together: Barrier = together) -> None:
            saver._copies.save(key, 3, STATE)  # so that all are about to create the object
            together.wait()
            saver.save(key, 3, STATE)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(save, savers))
        assert same(machine(f"reader {turn}").restore(key, like=STATE))
    assert len(list(objects.all())) == 3


def test_no_damaged_object_is_restored(machine: Machine, objects: ObjectStore) -> None:
    one = machine("one")
    one.save(KEY, 3, STATE)
    one.save(OTHER, 3, STATE)
    name = f"ab/{KEY}.tar"
    _, whole = objects.read(name)
    _, others = objects.read(f"cd/{OTHER}.tar")
    chance = random.Random(0)

    def damaged(which: int) -> bytes:
        if which % 4 == 0:
            return whole[: chance.randrange(len(whole))]
        if which % 4 == 1:
            return whole + bytes([chance.randrange(256)])
        place = chance.randrange(len(whole))
        return whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :]

    for which, content in enumerate((others, b"", b"\n", *(damaged(which) for which in range(197)))):
        put(objects, name, content)
        reader = machine(f"reader {which}")
        with pytest.raises((CheckpointDamaged, FileNotFoundError)):
            reader.restore(KEY, like=STATE)
        assert not reader.intact(KEY)
    put(objects, name, whole)
    assert same(machine("last").restore(KEY, like=STATE))


def test_a_damaged_object_is_named_and_makes_room_for_a_new_one(machine: Machine, objects: ObjectStore) -> None:
    one, two = machine("one"), machine("two")
    one.save(KEY, 3, STATE)
    _, whole = objects.read(name_of(objects))
    put(objects, name_of(objects), whole[:-1])
    with pytest.raises(CheckpointDamaged, match=rf"{objects.url}/ab/{KEY}\.tar: its bytes do not match"):
        two.restore(KEY, like=STATE)
    two.discard(KEY)
    assert list(objects.all()) == []
    two.save(KEY, 3, STATE)
    assert same(machine("three").restore(KEY, like=STATE))


@pytest.mark.parametrize("look", ["restore", "sizes"])
def test_what_was_saved_since_a_look_is_not_discarded(machine: Machine, objects: ObjectStore, look: str) -> None:
    one, two = machine("one"), machine("two")
    one.save(KEY, 3, STATE)
    _, whole = objects.read(name_of(objects))
    put(objects, name_of(objects), whole[:-1])
    if look == "sizes":
        two.sizes()
    else:
        with pytest.raises(CheckpointDamaged):
            two.restore(KEY, like=STATE)
    one.discard(KEY)
    one.save(KEY, 3, STATE)
    two.discard(KEY)
    assert same(machine("three").restore(KEY, like=STATE))


def test_savers_and_removers_at_once_leave_a_whole_checkpoint_or_none(machine: Machine, objects: ObjectStore) -> None:
    machines = [machine(str(which)) for which in range(4)]

    def turn(which: int) -> None:
        if which % 3:
            machines[which % 4].save(KEY, 3, STATE)
        else:
            machines[which % 4].discard(KEY)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(turn, range(24)))
    last = machine("last")
    last.save(KEY, 3, STATE)
    assert same(machine("reader").restore(KEY, like=STATE))
    assert name_of(objects) == f"ab/{KEY}.tar"


def test_the_mark_of_a_process_that_died_is_no_checkpoint_and_gives_way(
    machine: Machine, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MARK_SECONDS", 0.5)
    put(objects, f"ab/{KEY}.tar", b"removed 0123")
    one = machine("one")
    assert KEY not in one
    with pytest.raises(FileNotFoundError):
        one.restore(KEY, like=STATE)
    one.save(KEY, 3, STATE)
    assert same(machine("two").restore(KEY, like=STATE))


def test_the_mark_of_another_process_is_neither_listed_nor_removed(machine: Machine, objects: ObjectStore) -> None:
    put(objects, f"ab/{KEY}.tar", b"removed 0123")
    one = machine("one")
    assert one.sizes() == {}
    one.discard(KEY)
    assert name_of(objects) == f"ab/{KEY}.tar"


def test_a_process_held_up_for_long_leaves_its_mark_to_others(
    machine: Machine, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "DELETE_SECONDS", 0.0)
    one = machine("one")
    one.save(KEY, 3, STATE)
    one.discard(KEY)
    (mark,) = objects.all()
    assert mark.size < remote.MARK_BYTES


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "state/../../outside"])
def test_an_archive_that_leads_out_of_its_folder_is_damaged(
    machine: Machine, objects: ObjectStore, tmp_path: Path, name: str
) -> None:
    put(objects, f"ab/{KEY}.tar", pack({name: b"harm", MANIFEST: b"{}"}))
    with pytest.raises(CheckpointDamaged, match="must hold files below its folder, got"):
        machine("one").restore(KEY, like=STATE)
    assert not list(tmp_path.rglob("outside"))


def test_a_look_at_an_object_leaves_the_cache_alone(machine: Machine, tmp_path: Path) -> None:
    one = machine("one")
    one.save(KEY, 3, STATE)
    manifest = tmp_path / "one" / "ab" / KEY / MANIFEST
    before = manifest.stat()
    assert one.intact(KEY)
    assert not one.intact(OTHER)
    assert manifest.stat().st_ino == before.st_ino


def test_a_machine_that_may_not_write_the_cache_keeps_its_copies_elsewhere(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    one = RemoteCheckpoints(url, tmp_path / "file" / "cache")
    one.save(KEY, 3, STATE)
    assert same(one.restore(KEY, like=STATE))


def test_a_damaged_copy_is_replaced_from_the_store(machine: Machine, tmp_path: Path) -> None:
    one = machine("one")
    one.save(KEY, 3, STATE)
    manifest = tmp_path / "one" / "ab" / KEY / MANIFEST
    manifest.write_bytes(b"{}")
    assert same(one.restore(KEY, like=STATE))
    assert manifest.read_bytes() != b"{}"


def test_copies_unused_for_long_make_room(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "USED_SECONDS", 0.0)
    monkeypatch.setattr(remote, "TRIM_SECONDS", 0.0)
    state = {"weights": np.random.default_rng(0).normal(size=1000).astype(np.float32)}
    one = RemoteCheckpoints(url, tmp_path / "cache", cache_bytes=16_000)
    keys = [f"{which:02}" * 32 for which in range(5)]
    for key in keys:
        one.save(key, 1, state)
        time.sleep(0.02)  # the next copy's time must differ
    kept = {path.name for path in (tmp_path / "cache").glob("??/*")}
    assert keys[-1] in kept
    assert keys[0] not in kept
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file()) <= 16_000
    assert same(one.restore(keys[0], like=state), state)


def test_a_state_is_adopted_under_a_second_key(machine: Machine) -> None:
    one = machine("one")
    one.save(KEY, 3, STATE)
    assert machine("two").adopt(KEY, OTHER)
    assert not machine("two").adopt("ef" * 32, "01" * 32)
    assert same(machine("three").restore(OTHER, like=STATE))
    assert set(one.sizes()) == {KEY, OTHER}


def test_a_store_that_refuses_is_one_line(server: ObjectServer, url: str, tmp_path: Path) -> None:
    if server.url.startswith("gs"):
        pytest.skip("the stand-in has no buckets that could be missing")
    checkpoints = open_checkpoints(tmp_path, "s3://no-such-bucket/prefix")
    for act in (checkpoints.sizes, lambda: checkpoints.save(KEY, 3, STATE), checkpoints._objects.check_writable):
        with pytest.raises(StoreError, match=r"^s3://no-such-bucket/prefix/checkpoints: .*NoSuchBucket") as caught:
            act()
        assert "\n" not in str(caught.value)


def test_a_folder_needs_no_store(tmp_path: Path) -> None:
    checkpoints = open_checkpoints(tmp_path)
    checkpoints.save(KEY, 3, STATE)
    assert same(checkpoints.restore(KEY, like=STATE))
