"""A digest of the code that can change the numbers of a training state, and of nothing else.

It covers the modules of a program's variants and what they import, at the top or in a function, inside ``workers``, inside the
packages of plug-ins, and of the ``abel`` modules in ``COMPUTES``. A module enters without its name, docstrings, comments, and
imports for type checkers, so a file can be moved and its documentation rewritten. Schedules are left out: they determine only
the rates, which are in the key.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from workers.config import Program, variants_of

DRAWS_FROM = "workers.randomness"  # every task's PRNG keys come from here, whether or not its modules import it
# The modules of `abel` that tasks compute with. Their other imports, such as argument checks, do not affect states.
COMPUTES = frozenset({"abel.norms", "abel.dynamics"})
# Protocols, canonical dictionaries and the look-up of plug-ins: they decide which code runs, not what it computes.
OUTSIDE = frozenset({"workers.config", "workers.contracts", "workers.plugins"})


class _Import(NamedTuple):
    """A name that a module binds by an import."""

    module: str
    name: str  # what is taken from the module; empty for the module itself
    bound: str  # what it is called here


def code_digest(program: Program) -> str:
    """Return the sha256 over the code of a program's variants; see the module docstring."""
    digests = digests_of(program)
    return _sha256("\n".join(sorted({digests[name] for name in _starts(program)})))


def digests_of(program: Program) -> dict[str, str]:
    """Return the digest of each module whose code counts for a program, by name."""
    packages = frozenset(name.partition(".")[0] for name in _starts(program))
    known: dict[str, str] = {}
    for name in sorted(_starts(program)):
        _digest(name, packages, known)
    return known


def _starts(program: Program) -> set[str]:
    return {type(variant).__module__ for variant in variants_of(program)} | {DRAWS_FROM}


def _digest(name: str, packages: frozenset[str], known: dict[str, str]) -> str:
    """Return the digest of a module, in which the digests of the modules that it imports stand for their names."""
    if name not in known:
        known[name] = ""  # while its imports are read, so that a circle of imports ends
        code, whole, within = _parsed(name)

        def told(item: _Import) -> str:
            own = _counts(item.module, packages)
            source = _digest(item.module, packages, known) if own else "" if item.module in OUTSIDE else item.module
            return f"{source} {item.name} {item.bound}"

        places = ["; ".join(sorted(map(told, imports))) for imports in within]
        known[name] = _sha256("\n".join([*sorted(map(told, whole)), *places, code]))
    return known[name]


def _counts(name: str, packages: frozenset[str]) -> bool:
    return name in COMPUTES or (name.partition(".")[0] in packages and name not in OUTSIDE)


@cache
def _parsed(name: str) -> tuple[str, frozenset[_Import], tuple[tuple[_Import, ...], ...]]:
    """Return a module's syntax tree as text, without docstrings and imports; its imports at the top; and those below, by place.

    The order of imports at the top follows from the names of modules, and has no meaning. In a function or a condition it has.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return "", frozenset(), ()
    tree = _Stripped().visit(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    imports = (ast.Import, ast.ImportFrom)
    package = spec.parent or ""
    whole = frozenset(item for node in tree.body if isinstance(node, imports) for item in _imports(node, package))
    tree.body = [node for node in tree.body if not isinstance(node, imports)]
    places = _Places(package)
    return ast.dump(places.visit(tree)), whole, tuple(places.found)


class _Stripped(ast.NodeTransformer):
    """Removes docstrings and what only type checkers read."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        return super().generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.AST]:
        if ast.unparse(node.test) not in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return self.generic_visit(node)
        return [self.visit(other) for other in node.orelse]


class _Places(ast.NodeTransformer):
    """Puts a number in the place of each import, in `found` at that index."""

    def __init__(self, package: str) -> None:
        self._package = package
        self.found: list[tuple[_Import, ...]] = []

    def visit_Import(self, node: ast.Import) -> ast.AST:
        return self._numbered(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return self._numbered(node)

    def _numbered(self, node: ast.Import | ast.ImportFrom) -> ast.AST:
        self.found.append(tuple(_imports(node, self._package)))
        return ast.Expr(ast.Constant(len(self.found)))


def _imports(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[_Import]:
    if isinstance(node, ast.Import):
        yield from (_Import(alias.name, "", alias.asname or alias.name) for alias in node.names)
        return
    base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
    for alias in node.names:
        bound, module = alias.asname or alias.name, f"{base}.{alias.name}"
        yield _Import(module, "", bound) if _is_module(module) else _Import(base, alias.name, bound)


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
