"""The guide for users of stable-baselines3: its code runs, and so do the files of rl_zoo3."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

DOCS = Path(__file__).resolve().parents[1] / "docs"
ZOO = DOCS / "rl-zoo"
CONFIG = yaml.safe_load((ZOO / "ppo.yml").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_guide_blocks_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "sb3.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 9
    namespace: dict[str, Any] = {"__name__": "guide"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/sb3.md, block {number}", "exec"), namespace)
    assert "the restricted policy earns" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} >= {"agent.zip", "agent.imm.npz"}


@pytest.mark.parametrize("page", ["sb3.md", "rl-zoo/README.md"])
def test_guide_links_lead_somewhere(page: str) -> None:
    file = DOCS / page
    for target in re.findall(r"\]\(([^)#]+)\)", file.read_text(encoding="utf-8")):
        assert target.startswith("http") or (file.parent / target).exists(), target


@pytest.mark.parametrize("env", CONFIG)
def test_hyper_parameters_make_a_callback_that_matches(
    env: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    monkeypatch.syspath_prepend(str(ZOO))
    monkeypatch.delitem(sys.modules, "rules", raising=False)
    told = dict(CONFIG[env])
    ((name, arguments),) = told.pop("callback")[0].items()
    module, _, attribute = name.rpartition(".")  # as rl_zoo3 reads it
    callback = getattr(importlib.import_module(module), attribute)(**arguments)
    told.pop("n_timesteps")
    vector = make_vec_env(env, n_envs=told.pop("n_envs"), seed=0)
    if told.pop("normalize", False):
        vector = VecNormalize(vector, gamma=told["gamma"])
    model = PPO(env=vector, seed=0, device="cpu", **told)
    seen = []
    monkeypatch.setattr(
        type(callback), "_record", lambda _, measures, weight: seen.append((measures, weight))
    )
    model.learn(4 * model.n_steps * model.n_envs, callback=callback)
    sys.modules.pop("rules", None)
    assert len(seen) == 4
    assert seen[0][1] > 0.0  # matched from the first rollout on
    assert all(np.isfinite(measures["loss"]) for measures, _ in seen)
