"""What the verbs raise on purpose, by cause: the input or the machine."""

from services.errors import OperationError
from services.settings import SettingsError
from sweeps.ledger.database import LedgerError
from sweeps.processes.identity import IdentityError, IdentityLost
from sweeps.processes.job import ClusterAway
from sweeps.results.values import BaselineError
from sweeps.spec.sweep import SpecError
from workers.checkpoints import StoreError
from workers.data import DataError

INPUT_ERRORS = (SpecError, IdentityError, DataError, LedgerError, SettingsError, BaselineError, OperationError)
MACHINE_ERRORS = (IdentityLost, ClusterAway, StoreError)  # the input may be fine
