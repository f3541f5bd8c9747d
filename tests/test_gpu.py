"""What only a GPU can show: skipped where there is none.

Language models: `language/test_lm_devices.py` and `language/test_masked_devices.py`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import imm_rl
from imm_rl.agents.checkpoint import load_checkpoint, save_checkpoint
from imm_rl.agents.reinforce import IMMReinforce
from imm_rl.agents.settings import ReinforceSettings
from imm_rl.device import uploaded
from imm_rl.out_of_memory import is_out_of_memory, message

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

NoHostWaits = Callable[[], AbstractContextManager[None]]
SCRIPTS = Path(__file__).parents[1] / "scripts"


def make(device: str, env: str = "cheese", weight: Any = 1.0, **options: Any) -> IMMReinforce:
    settings = ReinforceSettings().replaced(eval_episodes=4, **options)
    return IMMReinforce(imm_rl.make(env), "fib", weight, (0, 1, 2), settings, device)


@pytest.mark.parametrize("env", ["grid(size=5)", "cheese", "tmaze", "tiger"])
def test_reinforce_on_the_gpu_trains_as_on_the_cpu(env: str) -> None:
    cpu, gpu = make("cpu", env), make("cuda", env)
    for agent in (cpu, gpu):
        agent.learn(agent.batch_steps * 20)
    assert gpu.on_device
    np.testing.assert_allclose(cpu.action_probs(), gpu.action_probs(), atol=1e-4)


@pytest.mark.parametrize("env", ["grid(size=5)", "cheese", "tmaze"])
def test_reinforce_on_the_gpu_waits_at_evaluations_alone(
    env: str, no_host_waits: NoHostWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make("cuda", env)
    agent.learn(2 * agent.batch_steps, evaluate_at=[])
    monkeypatch.setattr(
        agent, "_require_good_updates", lambda: None
    )  # the look at the end of `learn`
    with no_host_waits():
        agent.learn(8 * agent.batch_steps, evaluate_at=[])
    assert np.isfinite(agent.action_probs()).all()


def test_reinforce_on_the_gpu_gives_the_same_bits_twice_and_after_a_resume(tmp_path: Path) -> None:
    whole, again, first, second = (make("cuda", n_steps=17) for _ in range(4))
    steps = whole.batch_steps
    for agent in (whole, again):
        agent.learn(20 * steps, evaluate_at=[20 * steps])
    first.learn(20 * steps, lambda agent, _: agent.env_steps < 7 * steps, evaluate_at=[20 * steps])
    save_checkpoint(first, tmp_path / "state.npz")
    load_checkpoint(second, tmp_path / "state.npz")
    second.learn(20 * steps, evaluate_at=[20 * steps])
    np.testing.assert_array_equal(whole.action_probs(), again.action_probs())
    np.testing.assert_array_equal(whole.action_probs(), second.action_probs())


def test_lambda_0_is_bit_for_bit_plain_reinforce_on_the_gpu() -> None:
    zero = make("cuda", weight=0.0)
    plain = IMMReinforce(zero.pair, None, None, zero.seeds, zero.settings, "cuda")
    for agent in (zero, plain):
        agent.learn(agent.batch_steps * 20, evaluate_at=[])
    np.testing.assert_array_equal(zero.action_probs(), plain.action_probs())


def test_the_hook_of_ppo_on_the_gpu_waits_for_nothing(no_host_waits: NoHostWaits) -> None:
    from stable_baselines3 import PPO

    pair = imm_rl.make("grid(size=5)")
    callback = imm_rl.IMMCallback(pair, "fib", 0.5, refresh=1)
    whole, waited = callback._before_step, []

    def before_step(optimizer: Any, *rest: Any) -> None:
        if callback._gradient.dropped:  # the first of a rollout, which may be measured
            whole(optimizer, *rest)
            return
        with no_host_waits():
            whole(optimizer, *rest)
        waited.append(False)

    callback._before_step = before_step  # type: ignore[method-assign]
    model = PPO("MlpPolicy", pair.sb3_vector(2), n_steps=32, batch_size=16, device="cuda")
    model.learn(256, callback=callback)
    assert waited


def test_uploaded_numbers_make_nobody_wait(no_host_waits: NoHostWaits) -> None:
    busy = torch.randn(4096, 4096, device="cuda")
    with no_host_waits():
        product = busy @ busy
        on = uploaded(np.arange(1000.0)[::2], torch.device("cuda"))
    assert float(on.sum()) == float(np.arange(1000.0)[::2].sum())
    assert bool(product.isfinite().all())


def test_the_gpus_missing_memory_is_told() -> None:
    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(2**45, dtype=torch.uint8, device="cuda")
    assert is_out_of_memory(caught.value)
    told = message(caught.value, "train")
    assert told.startswith("out of memory: the GPU's memory ended where 32768.00 GiB more")


@pytest.mark.slow
def test_gpu_check_finds_the_numbers_of_the_cpu() -> None:
    command = [sys.executable, SCRIPTS / "gpu_check.py", "--device", "cuda", "--small"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
