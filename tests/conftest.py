"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

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
