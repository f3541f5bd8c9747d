"""What is installed: one import tree from four folders, found from wherever Python is started.

The suite itself runs in an editable install. Here the package is built once from a copy of the
checkout and installed into a folder; each start-up is a fresh interpreter without the editable install.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "imm_rl": "imm_rl",
    "envs": "imm_rl/envs",
    "agents": "imm_rl/agents",
    "language": "imm_rl/language",
}
PROBE = """
import importlib, json, sys
sys.meta_path[:] = [f for f in sys.meta_path if "__editable__" not in getattr(f, "__module__", "")]
names = ["imm_rl", "imm_rl.envs", "imm_rl.agents", "imm_rl.language"]
print(json.dumps({name: importlib.import_module(name).__file__ for name in names}))
import gymnasium, imm_rl
gymnasium.make("imm_rl/Tiger-MDP-v0").reset(seed=0)
assert imm_rl.make("grid(size=3)").model.n_states == 9
"""


class Places(NamedTuple):
    """Where things lie: a copy of the checkout, the installed package, an empty folder."""

    checkout: Path
    target: Path
    elsewhere: Path


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Builds and installs once. A copy is built: setuptools writes into the folder it builds from."""
    base = tmp_path_factory.mktemp("packaging")
    found = Places(base / "checkout", base / "target", base / "elsewhere")
    found.elsewhere.mkdir()
    found.checkout.mkdir()
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(ROOT / folder, found.checkout / folder, ignore=ignored)
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, found.checkout)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--target", str(found.target), str(found.checkout)]
    if _setuptools() >= 77:  # what pyproject.toml asks for: no need to fetch it once more
        command.append("--no-build-isolation")
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return found


def test_suite_runs_in_an_editable_install() -> None:
    import imm_rl.envs

    assert Path(imm_rl.envs.__file__ or "").parent == ROOT / "envs"


def test_extras_ask_for_the_transformers_that_the_code_is_written_for() -> None:
    """Tied weights by name, and tokenizers of a vocabulary, came with version 5."""
    text = (ROOT / "pyproject.toml").read_text()
    assert re.findall(r'"transformers>=(\d+)\.', text) == ["5", "5"]


@pytest.mark.slow
def test_install_has_one_top_level_name(places: Places) -> None:
    names = {path.name for path in places.target.iterdir()} - {"bin"}
    (info,) = (name for name in names if name.endswith(".dist-info"))
    assert re.fullmatch(r"imm_rl-[\d.]+\.dist-info", info)
    assert names - {info} == {"imm_rl"}
    assert (places.target / "imm_rl" / "py.typed").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_install_holds_every_module_of_a_folder(places: Places, folder: str) -> None:
    installed, source = places.target / FOLDERS[folder], places.checkout / folder

    def modules(base: Path) -> set[str]:
        found = {str(path.relative_to(base)) for path in base.rglob("*.py")}
        others = tuple(f"{name}{os.sep}" for name in FOLDERS if folder == "imm_rl")
        return {name for name in found if not name.startswith(others)}

    assert modules(installed) == modules(source)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "path", "found_in"),
    [
        ("elsewhere", "target", "target"),
        ("checkout", "target", "checkout"),  # Python finds ./imm_rl before the installed one
        ("checkout", None, "checkout"),
    ],
)
def test_imports_work_wherever_python_is_started(
    places: Places, start: str, path: str | None, found_in: str
) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(getattr(places, path))
    run = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=getattr(places, start),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    base = getattr(places, found_in)
    inside = "imm_rl/" if found_in == "target" else ""
    assert json.loads(run.stdout) == {
        "imm_rl": str(base / "imm_rl" / "__init__.py"),
        **{
            f"imm_rl.{name}": str(base / f"{inside}{name}" / "__init__.py")
            for name in ("envs", "agents", "language")
        },
    }


@pytest.mark.slow
def test_gymnasium_makes_an_id_without_an_import(places: Places) -> None:
    code = (
        'import gymnasium; print(gymnasium.make("imm_rl.envs:imm_rl/Tiger-POMDP-v0").reset(seed=0))'
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=places.elsewhere,
        env=os.environ | {"PYTHONPATH": str(places.target)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "(2, {})\n"


def _setuptools() -> int:
    try:
        return int(metadata.version("setuptools").split(".")[0])
    except metadata.PackageNotFoundError:
        return 0
