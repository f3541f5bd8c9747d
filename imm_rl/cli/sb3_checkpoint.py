"""Everything a training of `IMMPPO` or `IMMA2C` needs to go on, as plain arrays, between two updates.

A tabular environment goes on in the middle of its episodes, so that a resumed run ends with the parameters
of one that was never interrupted. What another environment holds cannot be stored: its episodes begin anew.
"""

from __future__ import annotations

import io
import json
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imm_rl.cli.generators import generator_states, restore_generators
from imm_rl.cli.sb3_model import evaluation_seed
from imm_rl.envs.sb3_vector import restore_vector, vector_state
from imm_rl.state_file import read_state, state_part, with_prefix, write_state

COUNTERS = ("num_timesteps", "_n_updates", "_episode_num")


def save_checkpoint(
    agent: Any, path: str | Path, identity: dict[str, Any], record: dict[str, Any]
) -> None:
    """Writes an `.npz`, whole or not at all.

    Args:
        agent: `IMMPPO` or `IMMA2C`, at the start of a rollout.
        path: The file.
        identity: What must be the same for it to fit, JSON-able, by the name that errors use.
        record: What the run has to tell so far, JSON-able.
    """
    parameters = io.BytesIO()
    torch.save(agent.get_parameters(), parameters)
    state: dict[str, Any] = {
        "record": np.array(json.dumps(record)),
        "parameters": np.frombuffer(parameters.getvalue(), dtype=np.uint8),
        "counters": np.array([getattr(agent, name) for name in COUNTERS]),
        "episodes": np.array([[e["r"], e["l"], e["t"]] for e in agent.ep_info_buffer]),
        **with_prefix("generators", generator_states()),
    }
    if agent.imm is not None:
        state |= with_prefix("imm", agent.imm.state())
    env = vector_state(agent.get_env())
    if env is not None:
        state |= with_prefix("env", env)
        state["last_observations"] = np.array(agent._last_obs)
        state["last_starts"] = np.array(agent._last_episode_starts)
    write_state(path, identity, state)


def load_checkpoint(agent: Any, path: str | Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Puts a new agent of the same making where the checkpoint says; its `learn` then goes on.

    Returns:
        The record that was saved.

    Raises:
        InvalidInputError: Not such a file, or one of another training; the error says how they differ.
    """
    state = read_state(path, identity)
    parameters = io.BytesIO(state["parameters"].tobytes())
    agent.set_parameters(torch.load(parameters, map_location=agent.device, weights_only=True))
    for name, value in zip(COUNTERS, state["counters"], strict=True):
        setattr(agent, name, int(value))
    agent.ep_info_buffer = deque(
        ({"r": np.float32(r), "l": np.int32(n), "t": t} for r, n, t in state["episodes"]),
        maxlen=agent._stats_window_size,
    )
    agent.ep_success_buffer = deque(maxlen=agent._stats_window_size)
    if agent.imm is not None:
        agent.imm.restore(state_part("imm", state))
    if "last_observations" in state:
        restore_vector(agent.get_env(), state_part("env", state))
        agent._last_obs = state["last_observations"]
        agent._last_episode_starts = state["last_starts"]
    else:  # new episodes, and other ones than at the start of the run
        agent.get_env().seed(evaluation_seed(agent.seed, agent.num_timesteps))
    restore_generators(state_part("generators", state))
    return dict(json.loads(str(state["record"])))
