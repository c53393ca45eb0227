"""Imports that fail."""

import sys
from importlib.machinery import ModuleSpec

import pytest


def fail_import(monkeypatch: pytest.MonkeyPatch, module: str, error: ImportError) -> None:
    """Let the import of a module fail until the test ends, also where it is imported already."""

    class Failing:
        def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
            if name == module:
                raise error
            return None

    for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Failing(), *sys.meta_path])
