"""What the verbs raise on purpose.

Exception
├── SpecError         an invalid spec                     (sweeps.spec.sweep)
├── IdentityError     data that does not fit the program  (sweeps.processes.identity)
├── IdentityLost      a process that was asked was killed  (sweeps.processes.identity)
├── ClusterAway       the Ray cluster cannot be joined    (sweeps.processes.job)
├── DataError         a data set that cannot be read      (workers.data)
├── StoreError        an object store that fails        (workers.checkpoints)
├── LedgerError       a ledger that cannot be opened, or lacks the sweep  (sweeps.ledger.database)
├── SettingsError     an invalid environment variable     (services.settings)
├── BaselineError     a baseline that cannot be read  (sweeps.results.values)
└── OperationError    anything else that a verb cannot do
    └── PreflightError    the disk does not allow the start  (services.verbs.running.preflight)
"""


class OperationError(Exception):
    """A verb cannot do what was asked. The message says what, the rule, and the value found."""
