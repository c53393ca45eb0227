"""The verb `adopt`: keep what other code recorded, once replays have shown that this code computes the same bits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from services import ledgers
from services.errors import OperationError
from services.settings import Settings
from services.upkeep import Adopted
from services.verbs.running import preflight
from sweeps.adoption.rekeying import NotAdoptable, RekeyedEpoch, pairs_of_identities, program_key, rekeyed
from sweeps.adoption.replays import differences, differing, sample
from sweeps.errors import ConfigError
from sweeps.ledger.database import LedgerError
from sweeps.ledger.entries import sweep_identity
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow
from sweeps.ledger.repair_sweeps import SpecDiffers, spec_as_entered
from sweeps.processes.identity import IdentityError, IdentityLost, WorkerEnvironment, identities_here
from sweeps.spec.programs import program_from_dict
from sweeps.spec.sweep import SpecError
from workers.checkpoints import StoreError, open_checkpoints
from workers.config import Program
from workers.reports import Record
from workers.trajectory import Identity

APART = "its trials were trained separately (--no-sharing), so no other sweep uses their epochs"
UNTRIED = "checkpoints that no recorded epoch follows could not be tried and were not adopted"


def adopt(settings: Settings, sweep: str | None, *, replays: int) -> Iterator[Adopted]:
    """Adopt the epochs of the sweeps with a name or id, or of every sweep, in turn.

    Args:
        sweep: None for every sweep of this home; of these, one that fails does not stop the others.
        replays: number of epochs of a sweep to train again; at least two of each of its programs are, if possible.

    Raises:
        OperationError: the home or its checkpoints cannot be written.
        LedgerError: there is no such sweep, or what the ledger holds of it is damaged.
        IdentityLost: the process that trains was killed or stopped three times.
    """
    preflight.check_home(settings.home)
    with ledgers.opened_if_any(settings) as ledger:
        if ledger is None and sweep is not None:
            raise ledgers.nothing_here(settings, sweep)
        for row in () if ledger is None else _rows(ledger, sweep):
            assert ledger is not None
            done = Adopted(sweep=row.name, sweep_id=row.id, outcome="failed")
            try:
                yield _Adoption(settings.prepare(), ledger, row).result(replays)
            except (NotAdoptable, ConfigError, IdentityError) as error:
                yield replace(done, outcome="not adoptable", why=(str(error),))
            except (LedgerError, IdentityLost) as error:
                if sweep is not None:
                    raise
                yield replace(done, why=(str(error),))
        if ledger is not None and sweep is None:
            ledger.sweeps()  # which raises if the row of one is damaged


def _rows(ledger: Ledger, sweep: str | None) -> list[SweepRow]:
    if sweep is None:
        return ledger.intact_sweeps()
    one = ledger.sweep(sweep)
    return [one] if one.id == sweep else [row for row in ledger.intact_sweeps() if row.name == sweep]


class _Adoption:
    """The adoption of one sweep."""

    def __init__(self, settings: Settings, ledger: Ledger, row: SweepRow) -> None:
        self._settings, self._ledger, self._row = settings, ledger, row
        self._checkpoints = open_checkpoints(settings.checkpoints, settings.store)
        numerics = row.identities[0].numerics
        threads, device = numerics.get("threads", ""), numerics.get("device", "cpu")
        devices = int(numerics["devices"]) if numerics.get("devices", "").isdecimal() else None
        self._environment = WorkerEnvironment(
            threads=int(threads) if threads.isdecimal() else 1,
            cache=settings.cache,
            gpu=not device.startswith("cpu"),
            gpus=None if device.startswith("tpu") else devices,
            tpus=devices if device.startswith("tpu") else None,
        )

    def result(self, replays: int) -> Adopted:
        """Replay a sample, and adopt the sweep's epochs if all of it has the recorded bits."""
        done = Adopted(sweep=self._row.name, sweep_id=self._row.id, outcome="nothing to adopt")
        if not self._row.sharing:
            return replace(done, why=(APART,))
        known = self._identities()
        pairs = pairs_of_identities(self._row, {key: known[program] for key, program in self._programs().items()})
        epochs = self._epochs(pairs)
        recorded = self._ledger.states(epoch.planned.key for epoch in epochs)
        new = [_record(epoch) for epoch in epochs if epoch.planned.key not in recorded]
        chosen = sample(epochs, self._checkpoints.intact, replays, self._row.id)
        tried = {program_key(way[0].identity.program) for way in chosen if way[0].state.epoch > 1}
        unsaved = self._unsaved(epochs)
        saved = [epoch for epoch in unsaved if program_key(epoch.identity.program) in tried]
        done = replace(done, why=(UNTRIED,) if len(saved) < len(unsaved) else ())
        if not new and not saved:
            return done
        # What this code has recorded under its own keys must agree too, or one curve would be of two codes.
        ours = [epoch for epoch in epochs if epoch.planned.key in recorded]
        if why := [text for epoch in ours for text in differences(epoch, recorded[epoch.planned.key].metrics)]:
            return replace(done, outcome="differs", why=tuple(why))
        done = replace(done, replayed=sum(map(len, chosen)))
        places = (self._settings.checkpoints, self._settings.store, self._settings.data_dir)
        if why := differing(chosen, *places, self._environment):
            return replace(done, outcome="differs", why=tuple(why))
        linked = self._linked(saved)
        event = self._event(pairs, known) | {"replayed": done.replayed}
        self._ledger.adopt_states(self._row.id, new, linked, event)
        self._ledger.prune_checkpoints(key for key in linked if key not in self._checkpoints)  # removed meanwhile
        return replace(done, outcome="adopted", epochs=len(new), checkpoints=len(linked))

    def _event(self, pairs: Sequence[tuple[Identity, Identity]], known: Mapping[Program, Identity]) -> dict[str, Any]:
        """What the ledger says of the adoption: which codes, and the sweep that has the epochs then."""
        return {
            "from": sorted({old.code for old, _ in pairs}),
            "to": sorted({new.code for _, new in pairs}),
            "into": self._successor(known),
        }

    def _programs(self) -> dict[str, Program]:
        """Return the recorded programs as this code reads them; new code may add fields to one."""
        return {program_key(one.program): program_from_dict(one.program) for one in self._row.identities}

    def _identities(self) -> Mapping[Program, Identity]:
        return identities_here(list(self._programs().values()), self._environment, self._settings.data_dir)

    def _successor(self, known: Mapping[Program, Identity]) -> str | None:
        """Return the id of the same sweep with this code; None if the spec of that time no longer says the same."""
        try:
            trials = spec_as_entered(self._row, self._ledger.trials(self._row.id)).expand()
            return sweep_identity(self._row.name, trials, known, sharing=True)
        except (SpecError, SpecDiffers, KeyError):
            return None

    def _epochs(self, pairs: Sequence[tuple[Identity, Identity]]) -> list[RekeyedEpoch]:
        """Return every recorded epoch of the sweep once."""
        trials = self._ledger.trials(self._row.id)
        curves = self._ledger.curves(self._row, trials)
        return list(
            {
                epoch.pair: epoch
                for trial, curve in zip(trials, curves, strict=True)
                for epoch in rekeyed(self._row, trial, curve, pairs)
            }.values()
        )

    def _unsaved(self, epochs: Sequence[RekeyedEpoch]) -> list[RekeyedEpoch]:
        """Return the epochs whose intact checkpoint has no second name yet."""
        old = self._ledger.checkpointed(epoch.state.key for epoch in epochs)
        new = self._ledger.checkpointed(epoch.planned.key for epoch in epochs)
        lacking = [epoch for epoch in epochs if epoch.state.key in old and epoch.planned.key not in new]
        return [epoch for epoch in lacking if self._checkpoints.intact(epoch.state.key)]

    def _linked(self, epochs: Sequence[RekeyedEpoch]) -> Mapping[str, int]:
        """Give checkpoints their second names; return the epoch of each by it."""
        try:
            return {one.planned.key: one.state.epoch for one in epochs if self._checkpoints.adopt(*one.pair)}
        except StoreError:
            raise
        except OSError as error:
            raise OperationError(f"{self._settings.checkpoints}: must be writable: {error.strerror or error}") from None


def _record(epoch: RekeyedEpoch) -> Record:
    state = epoch.state
    return Record(
        key=epoch.planned.key,
        parent=epoch.parent,
        epoch=state.epoch,
        metrics=state.metrics,
        finished_at_ms=state.finished_at_ms,
        worker=state.worker,
    )
