"""`solve_external`: SARSOP in C++ and Cassandra's pomdp-solve, where their programs are installed.

    sarsop        pomdpsol       https://github.com/AdaCompNUS/sarsop
    pomdp-solve   pomdp-solve    https://www.pomdp.org/code

The model is written as a `.POMDP` file in a folder of its own, the program is run, and what it leaves is
read. `--restricted external-sarsop` and `external-pomdp-solve` come here. pomdp_py calls the same programs
(`pomdp_py.sarsop`, `vi_pruning`), but writes files that only its tiger problem survives, in the folder it
is started from.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.restricted.policy_files import NO_BOUNDS
from imm_rl.envs import options
from imm_rl.envs.model import TabularPOMDP
from imm_rl.errors import InvalidInputError, RunFailedError, invalid, unknown_name

PREFIX = "external-"
"""Of the names that `--restricted` takes."""

TIME_LIMIT, PRECISION = 60.0, 1e-3

GRACE = 15.0
"""Seconds past the time limit after which a program that does not stop by itself is stopped."""


@dataclass(frozen=True, kw_only=True)
class _Program:
    """How one solver is called, and what it leaves."""

    binary: str
    source: str
    output: str
    arguments: Callable[[str, str, float, float], list[str]]


def _sarsop(model: str, output: str, time_limit: float, precision: float) -> list[str]:
    limits = ["--timeout", f"{time_limit:g}", "--precision", f"{precision:g}"]
    return [*limits, "--output", output, model]


def _pomdp_solve(model: str, output: str, time_limit: float, precision: float) -> list[str]:
    limits = ["-time_limit", str(max(1, round(time_limit))), "-stop_delta", f"{precision:g}"]
    return ["-pomdp", model, "-o", output.removesuffix(".alpha"), *limits]


_PROGRAMS = {
    "pomdp-solve": _Program(
        binary="pomdp-solve",
        source="https://www.pomdp.org/code",
        output="out.alpha",
        arguments=_pomdp_solve,
    ),
    "sarsop": _Program(
        binary="pomdpsol",
        source="https://github.com/AdaCompNUS/sarsop",
        output="out.policy",
        arguments=_sarsop,
    ),
}


def external_names() -> tuple[str, ...]:
    """What `solve_external` takes."""
    return tuple(sorted(_PROGRAMS))


def find_external(solver: str) -> str:
    """The path of a solver's program.

    Raises:
        InvalidInputError: No such solver, or its program is not on the PATH.
    """
    if solver not in _PROGRAMS:
        raise unknown_name("external solver", solver, _PROGRAMS)
    program = _PROGRAMS[solver]
    path = shutil.which(program.binary)
    if path is None:
        raise InvalidInputError(
            f"the program {program.binary!r} of solver {solver!r} is not on the PATH. Build it from "
            f"{program.source} and put it there, or use a solver of imm-rl, such as 'pbvi'."
        )
    return path


def solve_external(
    model: TabularPOMDP,
    solver: str = "sarsop",
    *,
    time_limit: float = TIME_LIMIT,
    precision: float = PRECISION,
) -> AlphaVectorPolicy:
    """Solves a POMDP by another program, for its infinite discounted horizon.

    Args:
        model: γ below 1.
        solver: "sarsop" or "pomdp-solve".
        time_limit: Seconds, given to the program; one that runs on is stopped `GRACE` seconds later.
        precision: In reward units, as the programs take it: the gap of the bounds (sarsop), or the
            largest change of a value from one round to the next (pomdp-solve).

    Returns:
        The policy, which looks ahead in the model. Bounds are those that sarsop reports.

    Raises:
        InvalidInputError: The program is not installed, γ is 1, or an argument is wrong.
        RunFailedError: The program failed, ran on past its time limit, or left no policy for the model.
    """
    if not isinstance(model, TabularPOMDP):
        raise invalid("model", "be a TabularPOMDP", type(model).__name__)
    path = find_external(solver)
    if model.discount >= 1.0:
        remedy = "Solve a finite horizon with imm-rl's own solvers"
        raise invalid("discount", f"be below 1 for {solver}", model.discount, remedy)
    time_limit = options.positive("time_limit", time_limit)
    precision = options.positive("precision", precision)
    program = _PROGRAMS[solver]
    with tempfile.TemporaryDirectory(prefix="imm-rl-") as folder:
        model_file = Path(folder) / "model.pomdp"
        _plain(model).save(model_file)
        arguments = program.arguments(model_file.name, program.output, time_limit, precision)
        started = time.perf_counter()
        text = _run([path, *arguments], folder, time_limit)
        seconds = time.perf_counter() - started
        policy = _read(Path(folder) / program.output, model, program.binary, text)
    policy.method, policy.seconds = f"{PREFIX}{solver}", seconds
    policy.lower_bound, policy.upper_bound = _bounds(text) if solver == "sarsop" else (None, None)
    notes = [note for note in policy.notes if note != NO_BOUNDS]
    policy.converged = policy.gap is not None and policy.gap <= precision
    if solver == "pomdp-solve":
        policy.converged = seconds < time_limit
        notes.append("pomdp-solve reports no bounds")
    if not policy.converged:
        notes.append(f"{program.binary} stopped before the precision was reached")
    policy.notes = tuple(notes)
    return policy


def _plain(model: TabularPOMDP) -> TabularPOMDP:
    """The model with numbers for names: the programs' readers are pickier than the format."""
    return TabularPOMDP(
        model.transition,
        model.observation,
        model.reward,
        model.initial,
        model.discount,
        terminal=model.terminal,
    )


def _run(command: list[str], folder: str, time_limit: float) -> str:
    """What the program prints; it and what it has started are stopped if it runs on."""
    name = Path(command[0]).name
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise RunFailedError(
            f"{command[0]} cannot be started: {error.strerror or error}."
        ) from error
    try:
        text, _ = process.communicate(timeout=time_limit + GRACE)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise RunFailedError(
                f"{name} did not stop within its time limit of {time_limit:g} s and {GRACE:g} s more. "
                "Give it a longer one, or use a solver of imm-rl."
            ) from error
        raise
    if process.returncode != 0:
        raise RunFailedError(f"{name} failed with exit code {process.returncode}{_last(text)}")
    return text


def _read(path: Path, model: TabularPOMDP, name: str, text: str) -> AlphaVectorPolicy:
    if not path.is_file():
        raise RunFailedError(f"{name} left no policy{_last(text)}")
    try:
        return AlphaVectorPolicy.load(path, model)
    except InvalidInputError as error:
        raise RunFailedError(f"{name} left a policy that cannot be used: {error}") from error


def _bounds(text: str) -> tuple[float | None, float | None]:
    """The last row of pomdpsol's table: time, trials, backups, lower and upper bound, and more."""
    number = r"[+-]?\d+\.?\d*(?:[eE][+-]?\d+)?"
    rows = re.findall(rf"^\s*{number}\s+\d+\s+\d+\s+({number})\s+({number})\s", text, re.MULTILINE)
    if not rows:
        return None, None
    low, high = rows[-1]
    return float(low), float(high)


def _last(text: str) -> str:
    """The last lines that a program printed, for an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"; it says: {' / '.join(lines[-3:])[-300:]}" if lines else " and says nothing."
