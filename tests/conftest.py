"""Fixtures for all tests."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType

import pytest

# Before anything imports torch: tests run side by side, and small tensors are slower on several threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Reference data beside the checkout; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the reference data folder ../shared/data is absent")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Solved policies are cached per test, never in the user's home."""
    monkeypatch.setenv("IMM_RL_CACHE", str(tmp_path_factory.getbasetemp() / "imm-rl-cache"))


def module_at(path: Path) -> ModuleType:
    """The module of a file that is in no package, such as a script."""
    if path.stem in sys.modules:
        return sys.modules[path.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def no_host_waits() -> Callable[[], AbstractContextManager[None]]:
    """`host_waits.no_host_waits`: a block in which nothing may wait for the device."""
    found: Callable[[], AbstractContextManager[None]]
    found = module_at(Path(__file__).with_name("host_waits.py")).no_host_waits
    return found
