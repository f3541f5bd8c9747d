"""Every mistake is one clear line on stderr and exit code 2, and leaves nothing on the disk."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Command = Callable[..., Any]

HEAD = "discount: 0.95\nvalues: reward\nstates: 2\nactions: 2\nobservations: 2\n"
FILES = {
    "rows.POMDP": HEAD
    + "T: 0\n0.5 0.4\n0.5 0.5\nT: 1 identity\nO: * uniform\nR: * : * : * : * 1\n",
    "negative.POMDP": HEAD + "T: *\n-0.5 1.5\n0.5 0.5\nO: * uniform\nR: * : * : * : * 1\n",
    "discount.POMDP": HEAD.replace("0.95", "1.95") + "T: * uniform\nO: * uniform\n",
    "malformed.POMDP": HEAD + "T: * uniform\nO: * unifrom\n",
    "malformed.yaml": "env: [tiger\nsteps: 3\n",
    "unknown.yaml": "env: tiger\nstepz: 3\n",
    "typed.yaml": "env: tiger\nsteps: many\n",
    "foreign.yaml": "env: tiger\nn_epochs: 3\n",
    "list.yaml": "- env\n- tiger\n",
    "file": "",
    "garbage.npz": "no archive",
    "garbage.zip": "no archive",
    "one.POMDP": HEAD + "T: * uniform\nO: * uniform\n",
    "one.txt": HEAD + "T: * uniform\nO: * uniform\n",
    "empty/notes.txt": "",
}

MISTAKES = [
    # command
    ("trian", "unknown command 'trian'. Did you mean 'train'?"),
    ("--evn", "unknown option '--evn'"),
    # names
    ("train", "no environment is given"),
    ("train --env tigr", "unknown environment 'tigr'. Did you mean 'tiger'?"),
    ("train --env 'tiger(acuracy=0.8)'", "Did you mean 'accuracy'?"),
    ("train --env 'tiger(accuracy=8)'", "accuracy must be a probability"),
    ("train --env 'tiger(accuracy)'", "environment must be of the form"),
    ("train --env nowhere:factory", "nowhere"),
    ("train --env tiger --observe 0", "its model says what is observed. Leave it out"),
    ("train --env CartPole-v2 --agent ppo", "CartPole-v2"),
    ("train --env tiger --restricted pomdb", "Did you mean 'pomdp'?"),
    ("train --env tiger --restricted os:nothing", "cannot import restricted policy 'os:nothing'"),
    ("train --env tiger --agent reinforc", "Did you mean 'reinforce'?"),
    ("train --env tiger --agent pppo", "Did you mean 'ppo'?"),
    ("train --env CartPole-v1 --agent reinforce", "has no model. Use --agent ppo or --agent a2c"),
    ("train --env tiger --preset papr", "Did you mean 'paper'?"),
    ("train --env tiger --device gpu", "unknown device 'gpu'"),
    # options
    ("train --env tiger --sed 3", "unknown option '--sed'. Did you mean '--seeds'?"),
    ("train --env tiger --step 3", "unknown option '--step'. Did you mean '--steps'?"),
    ("train --env tiger --learning_rate 1", "Did you mean '--learning-rate'?"),
    ("train --env tiger 3", "unexpected argument '3'"),
    ("train --env tiger --steps", "--steps: expected one argument"),
    ("train --env tiger --fast=3", "--fast: ignored explicit argument '3'"),
    (
        "train --env one.txt",
        "unknown environment 'one.txt'. There is a file of this name; if it is a POMDP file, give it a "
        "name that ends in .POMDP, such as one.POMDP.",
    ),
    ("train --resume empt", "there is no folder empt. Did you mean empty?"),
    # schedules
    ("train --env tiger --lambda linaer:1->0@0.5", "linear:1->0@0.5"),
    ("train --env tiger --lambda -1", "at least 0; received -1.0"),
    ("train --env tiger --lambda ratio:1", "ratio in [0, 1)"),
    ("train --env tiger --lambda nan", "λ schedule"),
    # values
    ("train --env tiger --steps 0", "steps must be a whole number ≥ 1"),
    ("train --env tiger --steps many", "steps must be a whole number ≥ 1"),
    ("train --env tiger --steps 1.5", "steps must be a whole number ≥ 1"),
    ("train --env tiger --seeds 3-", "seeds must be whole numbers ≥ 0"),
    ("train --env tiger --seeds 4-2", "seeds must count upwards"),
    ("train --env tiger --seeds 1,1", "seeds must all differ"),
    ("train --env tiger --temperature 0", "temperature must be a number > 0"),
    ("train --env tiger --gamma 1.5", "gamma must be a finite number in (0, 1]"),
    ("train --env tiger --learning-rate fast", "learning_rate must be a number"),
    ("train --env tiger --bootstrap maybe", "bootstrap must be true or false"),
    ("train --env tiger --hidden-sizes 8,x", "hidden_sizes must be a whole number"),
    ("train --env tiger --baseline non", "Did you mean 'none'?"),
    ("train --env tiger --agent ppo --clip-range 0", "clip_range must be a finite number > 0"),
    (
        "train --env tiger --agent ppo --gae-lambda 2",
        "gae_lambda must be a finite number in [0, 1]",
    ),
    ("train --env CartPole-v1 --observe x", "observe must be indices"),
    ("train --env CartPole-v1 --observe 2,7", "has the features 0 to 3"),
    ("train --env CartPole-v1 --observe 2,2", "observe"),
    ("train --env CartPole-v1 --view ful", "Did you mean 'full'?"),
    # views and what they go with
    ("train --env 'CartPole-v1(observe=[2])' --observe 3", "observe must be given once"),
    ("train --env CartPole-v1 --view restricted", "--observe 2,3"),
    ("train --env CartPole-v1 --restricted m.zip", "Give --observe the indices of what it sees"),
    (
        "train --env CartPole-v1 --observe 0,1,2,3 --restricted garbage.zip",
        "observe names all 4 features",
    ),
    ("train --env CartPole-v1 --observe 2,3 --restricted pomdp", "is solved from a model"),
    ("train --env CartPole-v1 --observe 2,3 --restricted m.zip", "no restricted policy 'm.zip'"),
    ("train --env CartPole-v1 --observe 2,3 --restricted garbage.zip", "is no zip of stable"),
    ("train --env CartPole-v1 --observe 2,3 --restricted empty", "there is no model.zip"),
    ("train --env CartPole-v1 --observe 2,3 --restricted os:nothing", "has no factory"),
    (
        "train --env CartPole-v1 --observe 2,3 --restricted none --temperature 2",
        "temperature is that of the restricted policy",
    ),
    (
        "train --env CartPole-v1 --observe 2,3 --restricted garbage.zip --temperature 2",
        "temperature is that of action values at beliefs",
    ),
    (
        "train --env CartPole-v1 --observe 2,3 --restricted garbage.zip --context-weight informed",
        "context_weight weights beliefs",
    ),
    (
        "train --env CartPole-v1 --observe 2,3 --restricted garbage.zip --completions nearst",
        "nearest",
    ),
    (
        "train --env CartPole-v1 --observe 2,3 --view restricted --restricted garbage.zip",
        "view 'restricted' trains the policy that sees less",
    ),
    ("train --env Blackjack-v1", "observations of Blackjack-v1 are Tuple"),
    ("train --env tiger --view restricted", "sees the state. Use --agent ppo"),
    ("train --env tiger --view restricted --agent ppo --restricted pomdp", "Give up one"),
    ("train --env tiger --agent ppo --restricted garbage.zip", "no zip of stable-baselines3"),
    ("train --env tiger --agent ppo --completions equal", "Leave completions out"),
    ("train --env tiger --agent ppo --restricted none --imm-batch 9", "there is nothing to match"),
    ("train --env tiger --agent ppo --preset paper", "preset 'paper' is one of reinforce"),
    (
        "train --env tiger --batch-size 32",
        "batch_size is a setting of ppo; the agent is reinforce",
    ),
    (
        "train --env tiger --gae-lambda 1",
        "gae_lambda is a setting of ppo and a2c; the agent is reinforce",
    ),
    (
        "train --env tiger --agent a2c --baseline none",
        "baseline is a setting of reinforce; the agent is a2c",
    ),
    ("train --config foreign.yaml", "n_epochs is a setting of ppo; the agent is reinforce"),
    # conflicts
    ("train --env tiger --restricted none --lambda 0.5", "there is nothing to match"),
    ("train --env tiger --restricted none --temperature 1", "restricted is 'none'"),
    ("train --env tiger --restricted none --contexts restricted", "there is nothing to match"),
    ("train --env tiger --restricted none --context-weight informed", "there is nothing to match"),
    ("train --env tiger --baseline none --bootstrap true", "baseline is 'none'"),
    ("train --env tiger --baseline mean", "normalize_advantage, which subtracts the mean"),
    ("train --env tiger --dry-run --print-config", "exclude each other"),
    ("train --env tiger --dry-run --json", "--dry-run runs nothing"),
    ("train --env tiger --print-config --json", "--print-config runs nothing"),
    # files
    ("train --env none.POMDP", "none.POMDP"),
    ("train --env malformed.POMDP", "malformed.POMDP:7"),
    (
        "train --env rows.POMDP",
        "rows.POMDP:6:1: expected the row T: 0 : 0 to sum to 1; its sum is 0.9",
    ),
    ("train --env negative.POMDP", "-0.5"),
    ("train --env discount.POMDP", "discount in (0, 1]"),
    (
        "train --env cheese --restricted tiger.npz",
        "2 states and 3 actions; the model has 11 states",
    ),
    ("train --env tiger --restricted none.npz", "there is no policy file"),
    ("train --env tiger --restricted garbage.npz", "garbage.npz"),
    ("train --config none.yaml", "cannot read none.yaml: No such file"),
    ("train --config malformed.yaml", "malformed.yaml, line 2: malformed YAML"),
    ("train --config unknown.yaml", "unknown key 'stepz' in unknown.yaml. Did you mean 'steps'?"),
    ("train --config typed.yaml", "steps must be a whole number ≥ 1"),
    ("train --config list.yaml", "must hold names with values"),
    ("train --env tiger --logdir file", "cannot write a run folder below file"),
    ("train --env tiger --logdir file/runs --dry-run", "is no folder"),
    ("train --resume none", "there is no folder none"),
    ("train --resume empty", "empty is no run folder: it has no config.yaml"),
    # solve
    ("solve", "--env is missing"),
    ("solve --env CartPole-v1", "imm-rl solve needs one"),
    ("solve --env tigr", "Did you mean 'tiger'?"),
    ("solve --env tiger --method pbvy", "Did you mean 'pbvi'?"),
    ("solve --env tiger --time-limit 0", "--time-limit must be a number > 0"),
    ("solve --env tiger --precision x", "--precision must be a number > 0"),
    ("solve --env tiger --seed -1", "--seed must be a whole number ≥ 0"),
    ("solve --env tiger --out policy.txt", "ends in .npz, .policy, .policyx or .alpha"),
    ("solve --env tiger --out none/policy.npz", "--out must lie in a folder that exists"),
    ("solve --env tiger --out empty", "--out must be a file name"),
    ("solve --env tiger --plot bounds.bmp", "--plot must be a file name that ends in .png, .svg"),
    ("solve --env tiger --plot none/bounds.png", "--plot must lie in a folder that exists"),
    ("solve --env tiger --horizon 0", "--horizon must be a whole number ≥ 1"),
    ("solve --env tiger --episodes 1", "--episodes must be at least 2"),
    ("solve --env tiger --compare qmdp,pbvy", "unknown method 'pbvy'. Did you mean 'pbvi'?"),
    ("solve --env tiger --compare qmdp,,fib", "unknown method ''"),
    ("solve --env tiger --compare qmdp,fib,qmdp", "--compare must name each method once"),
    ("solve --env tiger --compare qmdp", "--compare must name at least two methods"),
    ("solve --env tiger --compare qmdp,fib --method fib", "Give up --method"),
    ("solve --env tiger --compare qmdp,fib --out x.npz", "--compare keeps no policy"),
    ("solve --env tiger --compare qmdp,fib --explain", "Give up --compare"),
    ("solve --env tiger --compare qmdp,fib --plot bounds.gif", "--plot must be a file name"),
    # evaluate
    ("evaluate", "there is no finished run below runs"),
    ("evaluate none", "there is no run or policy none"),
    ("evaluate empty", "empty is no run folder"),
    ("evaluate garbage.zip", "garbage.zip is no saved policy of imm-rl: it is no zip file."),
    (
        "evaluate one.POMDP",
        "one.POMDP is a problem and no policy. It goes behind --env: imm-rl evaluate POLICY --env one.POM",
    ),
    ("watch one.POMDP", "It goes behind --env: imm-rl watch POLICY --env one.POMDP"),
    ("evaluate emty", "there is no run or policy emty. Did you mean empty?"),
    ("evaluate garbage.npz --env tiger", "garbage.npz"),
    ("evaluate tiger.npz", "does not say which environment it is for. Give --env"),
    ("evaluate tiger.npz --env cheese", "2 states and 3 actions"),
    ("evaluate tiger.npz --env CartPole-v1", "a policy on beliefs needs one"),
    ("evaluate tiger.npz --env tiger --episodes 0", "--episodes must be a whole number ≥ 1"),
    ("evaluate tiger.npz --env tiger --logdir runs", "--logdir is for finding the latest run"),
    # others
    ("envs tigr", "Did you mean 'tiger'?"),
    ("reproduce figure-3 --out x", "Did you mean 'figure-2'?"),
    ("reproduce", "required"),
]


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    from imm_rl.agents.solve import solve
    from imm_rl.envs.registry import make

    path = tmp_path_factory.mktemp("policy") / "tiger.npz"
    solve(make("tiger").model, "qmdp", cache=False).save(path)
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path: Path, policy_file: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "tiger.npz").write_bytes(policy_file)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_a_mistake_is_one_clear_line(
    imm_rl_command: Command, folder: Path, words: str, message: str
) -> None:
    before = sorted(os.listdir(folder))

    outcome = imm_rl_command(*shlex.split(words))

    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert re.match(r"imm-rl( \w+)?: error: ", outcome.err)
    assert message in outcome.err
    assert sorted(os.listdir(folder)) == before


def test_a_cuda_device_that_is_not_there_is_one_clear_line(
    imm_rl_command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    outcome = imm_rl_command("train", "--env", "tiger", "--device", "cuda")

    assert outcome.code == 2
    assert "device 'cuda'" in outcome.err
    assert not (folder / "runs").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_one_clear_line(imm_rl_command: Command, folder: Path) -> None:
    (folder / "shut").mkdir(mode=0o500)

    outcome = imm_rl_command("train", "--env", "tiger", "--logdir", "shut")

    assert outcome.code == 2
    assert "cannot write a run folder below shut: Permission denied" in outcome.err


def test_settings_are_checked_before_anything_is_solved(
    imm_rl_command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def solved(*args: object, **options: object) -> None:
        raise AssertionError("solved")

    monkeypatch.setattr("imm_rl.cli.restricted.make", solved)

    assert imm_rl_command("train", "--env", "tiger", "--gamma", "2").code == 2
    assert imm_rl_command("train", "--env", "tiger", "--lambda", "x").code == 2
    assert imm_rl_command("train", "--env", "tiger", "--logdir", "file").code == 2
    with pytest.raises(AssertionError, match="solved"):
        imm_rl_command("train", "--env", "tiger")
