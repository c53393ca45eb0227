"""State keys, which name a training state the way a git commit names a tree.

    root  = sha256(canonical JSON of program, seed, data, numerics, code)
    child = sha256(parent | float32 learning rates of the epoch | batch size)

On CPU, equal keys mean bit-identical states, because everything that enters an epoch's arithmetic enters the key.

``python -m workers.trajectory [FD]`` reads ``{"programs": [...], "data_dir": ...}`` from standard input and writes the
identities as JSON, or ``{"fault": message}``, to a file descriptor, by default standard output. The driver runs it in a
process with a worker's environment.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

from abel.schedules import EpochPlan
from workers.config import ConfigError, Program, from_dict, to_dict
from workers.data import DataError, Dataset
from workers.guessing import error_of_guessing

LIBRARIES = ("jax", "jaxlib", "flax", "optax")
DRAWS_FROM = "workers.randomness"  # every task's PRNG keys come from here, whether or not its modules import it
# The modules of `abel` that tasks compute with. Their other imports, such as argument checks, do not affect states.
COMPUTES = frozenset({"abel.norms", "abel.dynamics"})


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Everything that determines a program's states except schedule and seed; ``why_not`` compares two identities."""

    program: Mapping[str, Any]
    data: str  # sha256 of the decoded arrays
    examples: int  # training examples, which with the batch size determine the steps per epoch
    numerics: Mapping[str, str]
    code: str  # sha256 of the syntax trees
    guessing: float | None = None  # percent, assigned to diverged trials; not in the key, missing in older ledgers

    @property
    def batch_size(self) -> int:
        """The program's batch size, which a schedule may grow."""
        return int(self.program["batch_size"])

    def root(self, seed: int, salt: str = "") -> str:
        """Return the key of the state before epoch 1. A salt gives a trial keys of its own (``--no-sharing``)."""
        content = asdict(self) | {"seed": seed} | ({"salt": salt} if salt else {})
        del content["guessing"]
        return _sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())

    def why_not(self, other: "Identity") -> list[str]:
        """Return the parts in which another identity differs, each as "part: ours, theirs"; empty if states are shared."""
        parts = {name: (value, other.numerics.get(name, "none")) for name, value in self.numerics.items()}
        parts |= {"data": (self.data[:12], other.data[:12]), "code": (self.code[:12], other.code[:12])}
        parts["program"] = (json.dumps(self.program, sort_keys=True), json.dumps(other.program, sort_keys=True))
        return [f"{name}: {ours}, {theirs}" for name, (ours, theirs) in parts.items() if ours != theirs]


def child(parent: str, plan: EpochPlan) -> str:
    """Return the key of the state after one epoch with this plan."""
    return _sha256(bytes.fromhex(parent) + b"|" + plan.token())


def identify(program: Program, dataset: Dataset) -> Identity:
    """Return the identity of a program trained on this data by this process."""
    return Identity(
        program=to_dict(program),
        data=dataset.digest,
        examples=dataset.examples,
        numerics=numerics(),
        code=code_digest(program),
        guessing=error_of_guessing(dataset.classes),
    )


@cache
def numerics() -> Mapping[str, str]:
    """Return everything that determines the bits of this process's arithmetic."""
    import jax

    device = jax.devices()[0]
    kind = _processor() if device.platform == "cpu" else device.device_kind
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
    }


def code_digest(program: Program) -> str:
    """Return the sha256 over the docstring-stripped syntax trees of every module that the program's variants import.

    It follows imports inside ``workers``, inside the packages of plug-ins, and of the ``abel`` modules in ``COMPUTES``.
    Schedules are excluded: they determine only the rates, and the rates are in the key.
    """
    variants = (program.task, program.model, program.data, program.optimizer)
    pending = {type(variant).__module__ for variant in variants} | {DRAWS_FROM}
    packages = {name.partition(".")[0] for name in pending}
    trees: dict[str, str] = {}
    while pending:
        name = pending.pop()
        trees[name], imported = _module(name)
        pending |= {
            other for other in imported if other in COMPUTES or other.partition(".")[0] in packages
        } - trees.keys()
    return _sha256("\n".join(f"{name} {trees[name]}" for name in sorted(trees)).encode())


@cache
def _module(name: str) -> tuple[str, frozenset[str]]:
    """Return a module's syntax tree as text, without docstrings, and the modules that it imports."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return "", frozenset()
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    imported = frozenset(_imports(tree, spec.parent or ""))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree), imported


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_module(alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield base
            yield from (name for alias in node.names if _is_module(name := f"{base}.{alias.name}"))


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _processor() -> str:
    """Return the CPU model and a digest of its instruction set, for which XLA compiles."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    facts = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    flags = " ".join(sorted(facts.get("flags", facts.get("Features", "")).split()))
    return f"{facts.get('model name', platform.machine()).strip()} {_sha256(flags.encode())[:8]}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main(target: IO[str]) -> None:
    """Answer one question from standard input."""
    question = json.load(sys.stdin)
    try:
        answer: dict[str, Any] = {"identities": _identities(question)}
    except (ConfigError, DataError, ValueError, MemoryError) as error:
        answer = {"fault": str(error)}
    json.dump(answer, target)


def _identities(question: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the identities of the question's programs.

    Raises:
        ConfigError, DataError, ValueError: a program does not fit its data, or a variant failed.
    """
    data_dir = None if question["data_dir"] is None else Path(question["data_dir"])
    programs = [from_dict(values) for values in question["programs"]]
    datasets: dict[Any, Dataset] = {}
    for program in programs:
        if program.data not in datasets:
            with blamed(program.data):
                datasets[program.data] = program.data.load(data_dir)
        with blamed(program.task, program.model, program.optimizer):
            program.task.build(program, datasets[program.data])
    return [asdict(identify(program, datasets[program.data])) for program in programs]


@contextmanager
def blamed(*variants: Any) -> Iterator[None]:
    """Add the name of the failing variant to an error, unless a built-in variant's own message says what is wrong."""
    try:
        yield
    except (ConfigError, DataError):
        raise
    except (Exception, SystemExit) as error:
        files = [frame.filename for frame in reversed(traceback.extract_tb(error.__traceback__))]
        by_file = {sys.modules[type(variant).__module__].__file__: type(variant) for variant in variants}
        kind = next((by_file[file] for file in files if file in by_file), type(variants[0]))
        if isinstance(error, ValueError) and kind.__module__.startswith("workers."):
            raise
        text = " ".join(str(error).split())
        raise ValueError(f"{kind.__module__}:{kind.__name__} raised {type(error).__name__}: {text}") from error


if __name__ == "__main__":
    with open(int(sys.argv[1]) if sys.argv[1:] else sys.stdout.fileno(), "w", encoding="utf-8") as stream:
        main(stream)
