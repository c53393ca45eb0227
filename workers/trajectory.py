"""State keys, which name a training state the way a git commit names a tree.

    root  = sha256(canonical JSON of program, seed, data, numerics, code)
    child = sha256(parent | float32 learning rates of the epoch | batch size)

On CPU, equal keys mean bit-identical states, because everything that enters an epoch's arithmetic enters the key.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.code import code_digest
from workers.config import Program, to_dict
from workers.contracts import Metric, Training, cadence_of

if TYPE_CHECKING:
    from abel.schedules import EpochPlan

LIBRARIES = ("jax", "jaxlib", "flax", "optax")
# Of the sweeps of version 0.1, which had only one task, and did not record what trials are compared by.
TEST_ERROR = Metric(name="test_error", label="test error", unit="%", bounds=(0.0, 100.0))


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Everything that determines a program's states except schedule and seed; ``why_not`` compares two identities."""

    program: Mapping[str, Any]
    data: str  # sha256 of the data
    examples: int  # examples of a segment, which with the batch size determine its steps
    numerics: Mapping[str, str]
    code: str  # sha256 of the syntax trees
    metric: Metric = TEST_ERROR  # what trials are compared by; not in the key

    @property
    def batch_size(self) -> int:
        """The program's batch size, which a schedule may grow."""
        return int(self.program["batch_size"])

    def root(self, seed: int, salt: str = "") -> str:
        """Return the key of the state before epoch 1. A salt gives a trial keys of its own (``--no-sharing``)."""
        content = self.to_dict() | {"seed": seed} | ({"salt": salt} if salt else {})
        del content["metric"]
        return _sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())

    def why_not(self, other: "Identity") -> list[str]:
        """Return the parts in which another identity differs, each as "part: ours, theirs"; empty if states are shared."""
        parts = {name: (value, other.numerics.get(name, "none")) for name, value in self.numerics.items()}
        parts |= {"data": (self.data[:12], other.data[:12]), "code": (self.code[:12], other.code[:12])}
        parts["program"] = (json.dumps(self.program, sort_keys=True), json.dumps(other.program, sort_keys=True))
        return [f"{name}: {ours}, {theirs}" for name, (ours, theirs) in parts.items() if ours != theirs]

    def over(self, hosts: int) -> "Identity":
        """Return the identity in a gang of so many processes, each with the devices of this one."""
        if hosts == 1:
            return self
        devices = hosts * int(self.numerics["devices"])
        return replace(self, numerics={**self.numerics, "devices": str(devices), "hosts": str(hosts)})

    def to_dict(self) -> dict[str, Any]:
        """Return the identity as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Identity":
        """Return the identity of a dictionary, also one of version 0.1, which has the error of guessing or nothing."""
        values = dict(values)
        guessing = values.pop("guessing", None)
        metric = values.pop("metric", None) or asdict(TEST_ERROR) | {"worst": guessing}
        return cls(metric=Metric(**metric | {"bounds": tuple(metric["bounds"])}), **values)


def child(parent: str, plan: "EpochPlan") -> str:
    """Return the key of the state after one epoch with this plan."""
    return _sha256(bytes.fromhex(parent) + b"|" + plan.token())


def identify(program: Program, training: Training) -> Identity:
    """Return the identity of a program trained by this process."""
    return Identity(
        program=to_dict(program),
        data=training.fingerprint,
        examples=training.segment.examples,
        numerics=numerics(),
        code=code_digest(program),
        metric=replace(training.metric, cadence=cadence_of(program.task)),
    )


@cache
def numerics() -> Mapping[str, str]:
    """Return everything that determines the bits of this process's arithmetic."""
    import jax

    device = jax.devices()[0]
    kind = processor() if device.platform == "cpu" else device.device_kind
    return {
        **{name: importlib.metadata.version(name) for name in LIBRARIES},
        "device": f"{device.platform}: {kind}",
        "devices": str(jax.device_count()),
        "threads": os.environ.get("NPROC", "all"),
        "dtype": "float64" if jax.config.values["jax_enable_x64"] else "float32",
        "matmul_precision": str(jax.config.values["jax_default_matmul_precision"]),
        "random": f"{jax.config.values['jax_default_prng_impl']}"
        + ("" if jax.config.values["jax_threefry_partitionable"] else ", not partitionable"),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        **({"hosts": str(jax.process_count())} if jax.process_count() > 1 else {}),
    }


def processor() -> str:
    """Return this machine's CPU model and a digest of its instruction set, for which XLA compiles."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    facts = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    flags = " ".join(sorted(facts.get("flags", facts.get("Features", "")).split()))
    return f"{facts.get('model name', platform.machine()).strip()} {_sha256(flags.encode())[:8]}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
