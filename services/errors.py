"""What the verbs raise on purpose.

Exception
├── SpecError         a spec that cannot be run           (sweeps.spec.sweep)
├── IdentityError     data that does not fit the program  (sweeps.processes.identity)
├── IdentityLost      the data inspection process was killed  (sweeps.processes.identity)
├── ClusterAway       the Ray cluster cannot be joined    (sweeps.processes.job)
├── DataError         a data set that cannot be read      (workers.data)
├── LedgerError       a ledger that cannot be opened, or lacks the sweep  (sweeps.ledger.ledger)
├── SettingsError     the environment                     (services.settings)
├── BaselineError     a baseline that cannot be read  (sweeps.results.baseline)
└── OperationError    whatever else a verb cannot do
    └── PreflightError    the machine forbids the start   (services.verbs.running.preflight)
"""


class OperationError(Exception):
    """A verb cannot do what was asked; the message says what, the rule, and what was found."""
