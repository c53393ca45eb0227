"""The verb `adopt`: keep what other code recorded, once replays have shown that this code computes the same bits."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from services import ledgers
from services.errors import OperationError
from services.settings import Settings
from services.upkeep import Adopted
from sweeps.adoption.rekeying import NotAdoptable, RekeyedEpoch, pairs_of_identities, program_key, rekeyed
from sweeps.adoption.replays import differing, sample
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow
from sweeps.processes.identity import IdentityError, WorkerEnvironment, identities_here
from workers.checkpoints import Checkpoints
from workers.config import ConfigError, from_dict
from workers.reports import Record
from workers.trajectory import Identity


def adopt(settings: Settings, sweep: str | None, *, replays: int) -> Iterator[Adopted]:
    """Adopt the epochs of a sweep, or of every sweep, in turn.

    Args:
        sweep: name or id; None for every sweep of this home.
        replays: number of epochs of a sweep to train again; at least one of each of its programs is.

    Raises:
        OperationError: the epochs of the named sweep cannot be those of this code.
        LedgerError: there is no such sweep, or what the ledger holds of it is damaged.
        IdentityLost: the process that trains was killed or stopped three times.
    """
    with ledgers.opened_if_any(settings) as ledger:
        if ledger is None and sweep is not None:
            raise ledgers.nothing_here(settings, sweep)
        for row in [] if ledger is None else ledger.sweeps() if sweep is None else [ledger.sweep(sweep)]:
            assert ledger is not None
            try:
                yield _Adoption(settings, ledger, row).result(replays)
            except (NotAdoptable, ConfigError, IdentityError) as error:
                if sweep is not None:
                    raise OperationError(f"sweep {row.name!r}: cannot be adopted: {error}") from None
                yield Adopted(sweep=row.name, sweep_id=row.id, outcome="not adoptable", why=(str(error),))


class _Adoption:
    """The adoption of one sweep."""

    def __init__(self, settings: Settings, ledger: Ledger, row: SweepRow) -> None:
        self._settings, self._ledger, self._row = settings, ledger, row
        numerics = row.identities[0].numerics
        threads = numerics.get("threads", "")
        self._environment = WorkerEnvironment(
            threads=int(threads) if threads.isdecimal() else 1,
            cache=settings.cache,
            gpu=not numerics.get("device", "cpu").startswith("cpu"),
        )

    def result(self, replays: int) -> Adopted:
        """Replay a sample, and adopt the sweep's epochs if all of it has the recorded bits."""
        settings, row = self._settings, self._row
        pairs = pairs_of_identities(row, self._identities())
        epochs = self._epochs(pairs)
        if all(old.root(0) == new.root(0) for old, new in pairs) or self._are_known(epochs):
            return Adopted(sweep=row.name, sweep_id=row.id, outcome="nothing to adopt")
        checkpoints = Checkpoints(settings.checkpoints)
        chosen = sample(epochs, checkpoints.intact, replays, row.id)
        why = differing(chosen, settings.checkpoints, settings.data_dir, self._environment)
        if why:
            return Adopted(sweep=row.name, sweep_id=row.id, outcome="differs", replayed=len(chosen), why=tuple(why))
        saved = self._ledger.checkpointed(epoch.state.key for epoch in epochs)
        kept = [epoch for epoch in epochs if epoch.state.key in saved and checkpoints.adopt(*epoch.pair)]
        new = self._ledger.adopt_states(
            row.id,
            [_record(epoch) for epoch in epochs],
            {epoch.planned.key: epoch.state.epoch for epoch in kept},
            {"from": [old.code for old, _ in pairs], "to": [new.code for _, new in pairs], "replayed": len(chosen)},
        )
        done = Adopted(sweep=row.name, sweep_id=row.id, outcome="adopted", replayed=len(chosen))
        return replace(done, epochs=new, checkpoints=len(kept))

    def _identities(self) -> dict[str, Identity]:
        """Return this code's identity of each recorded program, by the program as recorded."""
        programs = {program_key(one.program): from_dict(one.program) for one in self._row.identities}
        found = identities_here(list(programs.values()), self._environment, self._settings.data_dir)
        return {key: found[program] for key, program in programs.items()}

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

    def _are_known(self, epochs: Sequence[RekeyedEpoch]) -> bool:
        return len(self._ledger.states(epoch.planned.key for epoch in epochs)) == len(epochs)


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
