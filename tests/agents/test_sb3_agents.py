"""`IMMPPO` and `IMMA2C`: saved, loaded and resumed as SB3's users expect."""

import re
import zipfile

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

import imm_rl
from imm_rl.agents.restricted.sb3_policy import SB3ViewPolicy
from imm_rl.errors import InvalidInputError

SMALL = {"policy_kwargs": {"net_arch": [16]}, "device": "cpu", "seed": 3}
QUICK = {"n_steps": 16, "batch_size": 32, "n_epochs": 2, **SMALL}


@pytest.fixture(scope="module")
def tiger():
    return imm_rl.make("tiger")


@pytest.fixture(scope="module")
def cartpole():
    return imm_rl.make("CartPole-v1", observe=[2, 3])


def lean(views):
    return (views.sum(axis=1) > 0).astype(int)


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.policy.parameters()])


def test_agent_is_sb3_with_the_callback(tiger):
    agent = imm_rl.IMMPPO("MlpPolicy", tiger, "qmdp", 0.5, n_envs=4, **QUICK).learn(200)
    other = PPO("MlpPolicy", tiger.sb3_vector(4), **QUICK)
    other.learn(200, callback=imm_rl.IMMCallback(tiger, "qmdp", 0.5))
    assert torch.equal(parameters(agent), parameters(other))


def test_without_a_restricted_policy_it_is_plain_sb3(tiger):
    for ours, theirs, given in (
        (imm_rl.IMMPPO, PPO, QUICK),
        (imm_rl.IMMA2C, A2C, SMALL),
    ):
        agent = ours("MlpPolicy", tiger, n_envs=4, **given).learn(200)
        plain = theirs("MlpPolicy", tiger.sb3_vector(4), **given).learn(200)
        assert agent.imm is None
        assert torch.equal(parameters(agent), parameters(plain))


def test_other_callbacks_are_called_too(tiger):
    class Count(BaseCallback):
        seen = 0

        def _on_step(self):
            Count.seen += 1
            return True

    calls = []
    agent = imm_rl.IMMPPO("MlpPolicy", "tiger", "qmdp", n_envs=4, **QUICK)
    agent.learn(64, callback=Count())
    agent.learn(64, callback=[Count()])
    agent.learn(64, callback=lambda *_: calls.append(1) or True)
    assert (Count.seen, len(calls)) == (32, 16)


@pytest.mark.parametrize("name", ["agent", "agent.zip"])
def test_saved_agent_predicts_the_same_with_our_load_and_with_sb3s(tmp_path, tiger, name):
    agent = imm_rl.IMMPPO("MlpPolicy", tiger, "qmdp", n_envs=4, **QUICK).learn(200)
    agent.save(tmp_path / name)
    states = np.arange(2)
    wanted, _ = agent.predict(states, deterministic=True)
    for loaded in (
        imm_rl.IMMPPO.load(tmp_path / name),
        imm_rl.IMMPPO.load(tmp_path / name, env=tiger),
        PPO.load(tmp_path / name),
    ):
        found, _ = loaded.predict(states, deterministic=True)
        assert (found == wanted).all()
        assert torch.equal(parameters(loaded), parameters(agent))


def test_restricted_policy_lies_beside_the_zip_and_not_in_it(tmp_path, tiger):
    agent = imm_rl.IMMPPO("MlpPolicy", tiger, "qmdp", n_envs=4, **QUICK).learn(64)
    agent.save(tmp_path / "agent")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"agent.zip", "agent.imm.npz", "agent.restricted.npz"}
    with zipfile.ZipFile(tmp_path / "agent.zip") as archive:
        assert b"AlphaVector" not in archive.read("data")
        assert '"imm"' not in archive.read("data").decode()


@pytest.mark.parametrize("ours", [imm_rl.IMMPPO, imm_rl.IMMA2C])
@pytest.mark.parametrize("kind", ["belief", "view"])
def test_resumed_training_equals_one_that_was_never_stopped(tmp_path, tiger, ours, kind):
    """On the same environment, which stays where it stood, and with the random numbers that follow."""
    given = QUICK if ours is imm_rl.IMMPPO else {"n_steps": 16, **SMALL}
    imm = {"context_weight": "uniform"} if kind == "belief" else {"observe": [2, 3]}
    imm["total_timesteps"] = 256

    def run(stop):
        env = tiger.sb3_vector(4) if kind == "belief" else make_vec_env("CartPole-v1", 4, seed=2)
        restricted = None if kind == "belief" else lean  # None: the one beside the zip
        first = restricted or "qmdp"
        agent = ours("MlpPolicy", env, first, "linear:1->0@0.5", imm=imm, **given)
        agent.learn(64)
        if stop:
            agent.save(tmp_path / "half")
            state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
            # SB3 seeds all generators anew when it loads.
            agent = ours.load(
                tmp_path / "half", env=env, restricted=restricted, imm=imm, force_reset=False
            )
            torch.set_rng_state(state[0])
            np.random.set_state(state[1])  # noqa: NPY002
        return parameters(agent.learn(192, reset_num_timesteps=False))

    assert torch.equal(run(stop=False), run(stop=True))


def test_sb3_restricted_policy_is_copied_beside_the_zip(tmp_path, cartpole):
    restricted = PPO("MlpPolicy", cartpole.sb3_vector(2, "pomdp"), **QUICK)
    restricted.save(tmp_path / "angles.zip")
    agent = imm_rl.IMMPPO("MlpPolicy", cartpole, str(tmp_path / "angles.zip"), n_envs=4, **QUICK)
    agent.learn(64).save(tmp_path / "agent")
    (tmp_path / "angles.zip").unlink()
    again = imm_rl.IMMPPO.load(tmp_path / "agent", env=cartpole, n_envs=4)
    assert isinstance(again.imm.policy, SB3ViewPolicy)
    again.learn(64, reset_num_timesteps=False)
    again.save(tmp_path / "agent")  # over itself


def test_agent_whose_policy_cannot_be_saved_asks_for_it_again(tmp_path, cartpole):
    agent = imm_rl.IMMPPO("MlpPolicy", cartpole, lean, n_envs=4, **QUICK).learn(64)
    agent.save(tmp_path / "agent")
    loaded = imm_rl.IMMPPO.load(tmp_path / "agent", env=cartpole, n_envs=4)
    with pytest.raises(InvalidInputError, match=re.escape("load(..., restricted=...)")):
        loaded.learn(64)
    again = imm_rl.IMMPPO.load(tmp_path / "agent", env=cartpole, restricted=lean, n_envs=4)
    again.learn(64, reset_num_timesteps=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"imm_lambda": 1}, "restricted is None"),
        ({"imm": {"batch_size": 3}}, "restricted is None"),
        ({"restricted": "qmdp", "imm": {"batchsize": 3}}, "Did you mean 'batch_size'"),
        ({"restricted": "qmpd"}, "Did you mean 'qmdp'"),
        ({"restricted": "qmdp", "imm": {"refresh": 0}}, "refresh must be a whole number ≥ 1"),
        ({"restricted": "qmdp", "imm_lambda": "lin:1"}, "λ schedule"),
    ],
)
def test_wrong_arguments_are_refused(tiger, arguments, message):
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        imm_rl.IMMPPO("MlpPolicy", tiger, **arguments, **QUICK)


def test_wrong_environment_is_refused():
    with pytest.raises(InvalidInputError, match="env must be a pair"):
        imm_rl.IMMPPO("MlpPolicy", 3)
