from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imm_rl.agents import external
from imm_rl.agents.external import solve_external
from imm_rl.agents.solve import solve
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.registry import make
from imm_rl.errors import InvalidInputError, RunFailedError

MODEL = make("tiger").model

# Stand-ins for the real programs: they take the same arguments, read the model with another reader than
# none at all, and leave the same files. The value function is tiger's with two steps to go, near enough.
_HEAD = """#!{python}
import sys, time
arguments = sys.argv[1:]
"""
POMDPSOL = (
    _HEAD
    + """
assert arguments[:4] == ["--timeout", "7", "--precision", "0.25"], arguments
assert arguments[4:] == ["--output", "out.policy", "model.pomdp"], arguments
text = open("model.pomdp").read()
assert "discount: 0.95" in text and "states: 2" in text and "actions: 3" in text, text
print('''
 Time   |#Trial |#Backup |LBound    |UBound    |Precision  |#Alphas |#Beliefs
 0       0       0        -20        92.8205    112.821     4        1
 0.01    14      102      19.3711    19.372     0.000902    23       11

SARSOP finishing ...''')
open("out.policy", "w").write('''<?xml version="1.0" encoding="ISO-8859-1"?>
<Policy version="0.1" type="value" model="model.pomdp">
<AlphaVector vectorLength="2" numObsValue="1" numVectors="3">
<Vector action="0" obsValue="0">-1 -1 </Vector>
<Vector action="1" obsValue="0">-100 10 </Vector>
<Vector action="2" obsValue="0">10 -100 </Vector>
</AlphaVector></Policy>''')
"""
)
POMDP_SOLVE = (
    _HEAD
    + """
assert arguments[:4] == ["-pomdp", "model.pomdp", "-o", "out"], arguments
assert arguments[4:] == ["-time_limit", "7", "-stop_delta", "0.25"], arguments
open("out.alpha", "w").write("0\\n-1 -1\\n\\n1\\n-100 10\\n\\n2\\n10 -100\\n\\n")
open("out.pg", "w").write("0 0 0 0\\n")
"""
)

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a program of this name on the PATH, and nothing else."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name: str, text: str) -> None:
        path = tmp_path / name
        path.write_text(text.replace("{python}", sys.executable))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return put


def test_solve_external_reads_what_sarsop_leaves(install: Install) -> None:
    install("pomdpsol", POMDPSOL)

    policy = solve_external(MODEL, "sarsop", time_limit=7.0, precision=0.25)

    assert policy.name == "external-sarsop"
    assert (policy.lower_bound, policy.upper_bound) == (19.3711, 19.372)
    assert policy.converged
    assert policy.notes == ()
    np.testing.assert_array_equal(policy.vectors, [[-1, -1], [-100, 10], [10, -100]])
    assert policy.vector_actions.tolist() == [0, 1, 2]
    # It looks ahead in the model: opening at the uniform belief, −45 and then at best −1.
    np.testing.assert_allclose(policy.action_values(np.array([0.5, 0.5])), [-1.95, -45.95, -45.95])


def test_solve_external_reads_what_pomdp_solve_leaves(install: Install) -> None:
    install("pomdp-solve", POMDP_SOLVE)

    policy = solve_external(MODEL, "pomdp-solve", time_limit=7.0, precision=0.25)

    assert policy.name == "external-pomdp-solve"
    assert policy.lower_bound is None
    assert policy.upper_bound is None
    assert policy.notes == ("pomdp-solve reports no bounds",)
    np.testing.assert_array_equal(policy.vectors, [[-1, -1], [-100, 10], [10, -100]])


def test_solve_external_says_where_the_bounds_have_not_met(install: Install) -> None:
    install("pomdpsol", POMDPSOL.replace("19.372 ", "25.5 "))

    policy = solve_external(MODEL, time_limit=7.0, precision=0.25)

    assert policy.gap == pytest.approx(25.5 - 19.3711)
    assert not policy.converged
    assert policy.notes == ("pomdpsol stopped before the precision was reached",)


@pytest.mark.parametrize(("solver", "binary"), [("sarsop", "pomdpsol"), ("pomdp-solve",) * 2])
def test_solve_external_says_what_is_missing(install: Install, solver: str, binary: str) -> None:
    with pytest.raises(InvalidInputError, match=f"program '{binary}' .* not on the PATH. Build it"):
        solve_external(MODEL, solver)


def test_solve_external_tells_what_a_failing_program_says(install: Install) -> None:
    install("pomdpsol", _HEAD + "print('loading'); print('no memory'); sys.exit(3)")

    with pytest.raises(
        RunFailedError, match="pomdpsol failed with exit code 3; it says: loading / no memory"
    ):
        solve_external(MODEL)


def test_solve_external_says_when_no_policy_was_left(install: Install) -> None:
    install("pomdpsol", _HEAD)

    with pytest.raises(RunFailedError, match="pomdpsol left no policy and says nothing"):
        solve_external(MODEL)


def test_solve_external_refuses_a_policy_for_another_model(install: Install) -> None:
    install("pomdpsol", POMDPSOL.replace("states: 2", "states"))

    with pytest.raises(RunFailedError, match="left a policy that cannot be used: .*11 states"):
        solve_external(_with_discount(make("4x3").model, 0.95), time_limit=7, precision=0.25)


def _with_discount(model: TabularPOMDP, discount: float) -> TabularPOMDP:
    return TabularPOMDP(
        model.transition[:, :3] if isinstance(model.transition, np.ndarray) else model.transition,
        model.observation[:3],
        model.reward[:, :3],
        model.initial,
        discount,
    )


def test_solve_external_says_when_a_program_cannot_be_started(install: Install) -> None:
    install("pomdpsol", "#!/no/such/interpreter\n")

    with pytest.raises(RunFailedError, match="pomdpsol cannot be started"):
        solve_external(MODEL)


def test_solve_external_stops_a_program_that_runs_on(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It starts another one, which must not be left behind.
    child = tmp_path / "child"
    install(
        "pomdpsol",
        _HEAD
        + "import subprocess\n"
        + f"p = subprocess.Popen([{sys.executable!r}, '-c', 'import time; time.sleep(60)'])\n"
        + f"open({str(child)!r}, 'w').write(str(p.pid)); time.sleep(60)",
    )
    monkeypatch.setattr(external, "GRACE", 1.0)
    started = time.monotonic()

    with pytest.raises(RunFailedError, match=r"did not stop within its time limit of 0.5 s"):
        solve_external(MODEL, time_limit=0.5)

    assert time.monotonic() - started < 20.0
    assert _gone(int(child.read_text()))


def _gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has ended too."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_solve_external_leaves_nothing_behind(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("pomdpsol", POMDPSOL)
    (tmp_path / "here").mkdir()
    (tmp_path / "temp").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))

    solve_external(MODEL, time_limit=7.0, precision=0.25)

    assert os.listdir(tmp_path / "here") == os.listdir(tmp_path / "temp") == []


def test_solve_external_refuses_wrong_arguments(install: Install) -> None:
    install("pomdpsol", POMDPSOL)
    undiscounted = _with_discount(MODEL, 1.0)

    with pytest.raises(InvalidInputError, match=r"unknown external solver 'sarso'. Did you mean"):
        solve_external(MODEL, "sarso")
    with pytest.raises(InvalidInputError, match="discount must be below 1 for sarsop"):
        solve_external(undiscounted)
    with pytest.raises(InvalidInputError, match="time_limit must be"):
        solve_external(MODEL, time_limit=0)
    with pytest.raises(InvalidInputError, match="precision must be"):
        solve_external(MODEL, precision=-1)
    with pytest.raises(InvalidInputError, match="model must be a TabularPOMDP"):
        solve_external(make("tiger"))  # type: ignore[arg-type]


def test_the_reader_of_bounds_takes_the_last_row() -> None:
    assert external._bounds("") == (None, None)
    text = " 1   2  3  -1.5e-3  4   5  6 7\n x\n 1.5 20  30  -1  2.5  3.5  6 7\n"
    assert external._bounds(text) == (-1.0, 2.5)


def test_solutions_of_a_real_sarsop_agree_with_ours() -> None:
    try:
        external.find_external("sarsop")
    except InvalidInputError:
        pytest.skip("pomdpsol is not installed here")

    theirs = solve_external(MODEL, time_limit=10.0)

    assert theirs.lower_bound == pytest.approx(19.3711, abs=0.02)
    ours = solve(MODEL, "pbvi")
    beliefs = np.array([[0.5, 0.5], [0.85, 0.15], [0.99, 0.01]])
    np.testing.assert_array_equal(theirs.probs(beliefs), ours.probs(beliefs))
