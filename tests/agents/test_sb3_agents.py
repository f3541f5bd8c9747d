"""`IMMPPO` and `IMMA2C`: saved, loaded and resumed as SB3's users expect."""

import io
import re
import zipfile

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import imm_rl
from imm_rl.agents.neighbours import Nearest
from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.restricted.memoryless import MemorylessPolicy
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
    imm |= {"total_timesteps": 256, "batch_size": 32, "refresh": 2}

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
            agent = ours.load(tmp_path / "half", env=env, restricted=restricted, force_reset=False)
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


def on_angles(cartpole, folder, **arguments):
    """A restricted policy of SB3, from a zip in the folder."""
    model = PPO("MlpPolicy", cartpole.sb3_vector(2, "pomdp"), **QUICK)
    model.save(folder / "angles.zip")
    return SB3ViewPolicy.load(folder / "angles.zip", **arguments)


@pytest.mark.parametrize("opened", [False, True])
def test_loaded_agent_has_as_many_copies_as_it_had(tmp_path, tiger, opened):
    agent = imm_rl.IMMPPO("MlpPolicy", tiger, n_envs=4, **QUICK)
    place = io.BytesIO() if opened else tmp_path / "agent"
    agent.save(place)
    assert imm_rl.IMMPPO.load(place, env=tiger).n_envs == 4
    assert imm_rl.IMMPPO.load(place, env="tiger", n_envs=2).n_envs == 2
    assert imm_rl.IMMPPO("MlpPolicy", tiger, **QUICK).n_envs == 8


@pytest.mark.parametrize("kind", ["pair", "features"])
def test_arguments_of_matching_are_remembered_and_can_be_changed(
    tmp_path, tiger, cartpole, kind, monkeypatch
):
    both = {"batch_size": np.int64(32), "refresh": 2, "total_timesteps": 256, "seed": 5}
    if kind == "pair":
        env, given = tiger, both | {"context_weight": "uniform"}
        wanted = given
    else:
        env = make_vec_env("CartPole-v1", 4)
        given = both | {"observe": np.array([2, 3]), "completions": Nearest(k=4, bandwidth=0.5)}
        wanted = given | {"observe": [2, 3], "completions": "nearest:k=4,bandwidth=0.5"}
    restricted = "qmdp" if kind == "pair" else lean
    seen = []
    made = imm_rl.agents.sb3_agents.IMMCallback
    agent = imm_rl.IMMPPO("MlpPolicy", env, restricted, imm=given, **QUICK).learn(64)
    agent.save(tmp_path / "agent")

    def noting(*arguments, **named):
        seen.append(named)
        return made(*arguments, **named)

    monkeypatch.setattr("imm_rl.agents.sb3_agents.IMMCallback", noting)
    load = imm_rl.IMMPPO.load
    again = load(tmp_path / "agent", env=env, restricted=restricted)
    again.save(tmp_path / "again")
    load(tmp_path / "again", env=env, restricted=restricted, imm={"refresh": 3, "seed": None})
    assert seen == [wanted, {**wanted, "refresh": 3, "seed": None}]
    if kind == "features":  # a pair says itself what is seen
        load(tmp_path / "agent", env=cartpole, restricted=lean)
        assert "observe" not in seen[-1]


def test_function_among_the_arguments_is_asked_for_again(tmp_path, cartpole):
    def shifted(views, rng):
        hidden = rng.normal(size=(len(views), 4, 2)).astype(np.float32)
        return np.concatenate([hidden, np.repeat(views[:, None], 4, axis=1)], axis=2)

    imm = {"completions": shifted, "refresh": 2}
    agent = imm_rl.IMMPPO("MlpPolicy", cartpole, lean, imm=imm, n_envs=4, **QUICK).learn(64)
    agent.save(tmp_path / "agent")
    loaded = imm_rl.IMMPPO.load(tmp_path / "agent", env=cartpole, restricted=lean)
    with pytest.raises(InvalidInputError, match=re.escape("imm={'completions': ...}")):
        loaded.learn(64)
    imm = {"completions": shifted}
    again = imm_rl.IMMPPO.load(tmp_path / "agent", env=cartpole, restricted=lean, imm=imm)
    assert again.imm_arguments == {"refresh": 2}
    again.learn(64, reset_num_timesteps=False)


def test_plain_agent_gets_a_restricted_policy_when_loaded(tmp_path, tiger):
    plain = imm_rl.IMMPPO("MlpPolicy", tiger, n_envs=4, **QUICK).learn(64)
    path = tmp_path / "agent"
    plain.save(path)
    agent = imm_rl.IMMPPO.load(path, env=tiger, restricted="qmdp", imm={"refresh": 2})
    assert agent.imm_lambda == imm_rl.IMMCallback(tiger, "qmdp").schedule.text
    agent.learn(64, reset_num_timesteps=False).save(path)
    assert imm_rl.IMMPPO.load(path, env=tiger).imm_arguments == {"refresh": 2}
    other = imm_rl.IMMPPO.load(path, env=tiger, imm_lambda=0.25)
    assert (other.imm.schedule.text, other.imm_lambda) == ("0.25", "0.25")
    without = imm_rl.IMMPPO.load(path, env=tiger, restricted="none")
    assert (without.imm, without.imm_lambda) == (None, None)
    plain.save(path)
    with pytest.raises(InvalidInputError, match="restricted is None"):
        imm_rl.IMMPPO.load(path, env=tiger, imm={"refresh": 2})


@pytest.mark.parametrize(
    "given", [{"restricted": "qmdp"}, {"imm": {"refresh": 2}}, {"imm_lambda": 1}, {"n_envs": 2}]
)
def test_arguments_of_matching_without_an_environment_are_refused(tmp_path, tiger, given):
    imm_rl.IMMPPO("MlpPolicy", tiger, n_envs=4, **QUICK).save(tmp_path / "agent")
    with pytest.raises(InvalidInputError, match=re.escape("Give load(..., env=...)")):
        imm_rl.IMMPPO.load(tmp_path / "agent", **given)


def test_environment_set_after_loading_is_too_late_and_the_error_says_so(tmp_path, tiger):
    agent = imm_rl.IMMPPO("MlpPolicy", tiger, "qmdp", n_envs=4, **QUICK).learn(64)
    agent.save(tmp_path / "agent")
    loaded = imm_rl.IMMPPO.load(tmp_path / "agent")
    loaded.set_env(tiger.sb3_vector(4))
    with pytest.raises(InvalidInputError, match=re.escape("Give load(..., env=...)")):
        loaded.learn(64)
    loaded.save(tmp_path / "agent")  # what lies beside still belongs to it
    assert imm_rl.IMMPPO.load(tmp_path / "agent", env=tiger).imm.state()
    loaded.imm_lambda = None
    loaded.learn(64)


def test_restricted_model_answers_the_same_after_loading(tmp_path, cartpole):
    statistics = VecNormalize(cartpole.sb3_vector(2, "pomdp"))
    statistics.obs_rms.mean, statistics.obs_rms.var = np.array([0.1, -1.0]), np.array([4.0, 0.25])
    given = {"temperature": 0.1, "name": "sharp", "normalize": statistics}
    agent = imm_rl.IMMPPO("MlpPolicy", cartpole, on_angles(cartpole, tmp_path, **given), **QUICK)
    agent.learn(128).save(tmp_path / "agent")
    loaded = imm_rl.IMMPPO.load(tmp_path / "agent", env=cartpole)
    views = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    starts = np.zeros((5, 3), dtype=bool)
    wanted, _ = agent.imm.policy.follow(views, starts)
    np.testing.assert_array_equal(loaded.imm.policy.follow(views, starts)[0], wanted)
    assert loaded.imm.policy.name == "sharp"


def test_policy_that_looks_ahead_is_loaded_for_the_pair_behind_an_environment(tmp_path, tiger):
    agent = imm_rl.IMMPPO("MlpPolicy", tiger, "pomdp", n_envs=4, **QUICK).learn(64)
    agent.save(tmp_path / "agent")
    loaded = imm_rl.IMMPPO.load(tmp_path / "agent", env=tiger.sb3_vector(4))
    assert loaded.imm.policy.model is not None
    loaded.learn(64, reset_num_timesteps=False)


def test_leftovers_of_another_save_are_not_taken(tmp_path, tiger, cartpole):
    env = tiger.sb3_vector(2, "pomdp")
    PPO("MlpPolicy", env, **QUICK).save(tmp_path / "hears.zip")
    path, load = tmp_path / "agent", imm_rl.IMMPPO.load

    def saved(restricted, pair=tiger):
        agent = imm_rl.IMMPPO("MlpPolicy", pair, restricted, n_envs=4, **QUICK).learn(64)
        agent.save(path)

    saved(str(tmp_path / "hears.zip"))
    saved("qmdp")
    assert isinstance(load(path, env=tiger).imm.policy, AlphaVectorPolicy)
    saved(str(tmp_path / "hears.zip"))
    assert isinstance(load(path, env=tiger).imm.policy, SB3ViewPolicy)
    saved(lean, cartpole)
    assert load(path, env=cartpole).imm is None, "there is no policy to take"
    saved(None)
    again = load(path, env=tiger, restricted="qmdp")
    assert not again.imm.state(), "matching begins anew"


def test_state_of_another_save_is_refused(tmp_path, tiger):
    for name in ("one", "two"):
        agent = imm_rl.IMMPPO("MlpPolicy", tiger, "qmdp", n_envs=4, **QUICK).learn(64)
        agent.save(tmp_path / name)
    (tmp_path / "one.imm.npz").replace(tmp_path / "two.imm.npz")
    with pytest.raises(InvalidInputError, match="belongs to another save"):
        imm_rl.IMMPPO.load(tmp_path / "two", env=tiger)
    (tmp_path / "two.imm.npz").write_bytes(b"junk")
    with pytest.raises(InvalidInputError, match="two.imm.npz cannot be read"):
        imm_rl.IMMPPO.load(tmp_path / "two", env=tiger)
    agent.save(tmp_path / "two")
    (tmp_path / "two.restricted.npz").unlink()
    with pytest.raises(InvalidInputError, match="which is not there"):
        imm_rl.IMMPPO.load(tmp_path / "two", env=tiger)


def test_state_for_another_kind_of_restricted_policy_is_refused(tmp_path, tiger):
    hears = PPO("MlpPolicy", tiger.sb3_vector(2, "pomdp"), **QUICK)
    table = MemorylessPolicy(np.full((2, 3), 1 / 3), [[0.85, 0.15], [0.15, 0.85]])
    kinds = {"beliefs": "qmdp", "views": hears, "observations": table}
    for kind, restricted in kinds.items():
        agent = imm_rl.IMMPPO("MlpPolicy", tiger, restricted, n_envs=4, **QUICK).learn(64)
        agent.save(tmp_path / "agent")
        for other in {*kinds} - {kind}:
            with pytest.raises(InvalidInputError, match=f"acts on {kind}, and .* acts on {other}"):
                imm_rl.IMMPPO.load(tmp_path / "agent", env=tiger, restricted=kinds[other])
    (tmp_path / "agent.imm.npz").unlink()
    anew = imm_rl.IMMPPO.load(tmp_path / "agent", env=tiger, restricted="qmdp")
    anew.learn(64, reset_num_timesteps=False)


def test_copies_of_what_is_no_pair_are_refused(tmp_path, tiger):
    env = make_vec_env("CartPole-v1", 2)
    with pytest.raises(InvalidInputError, match="leave n_envs out"):
        imm_rl.IMMPPO("MlpPolicy", env, n_envs=2, **QUICK)
    imm_rl.IMMPPO("MlpPolicy", env, **QUICK).save(tmp_path / "agent")
    with pytest.raises(InvalidInputError, match="leave n_envs out"):
        imm_rl.IMMPPO.load(tmp_path / "agent", env=env, n_envs=2)


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
