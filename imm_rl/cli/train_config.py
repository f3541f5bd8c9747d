"""What `imm-rl train` is told, and by whom, checked before anything runs.

defaults < preset < the environment's defaults < file < --fast < flags

Every option of `imm-rl train --help` that shapes the training is a key of the configuration file under
the same name, with `_` for `-`. The same keys, all those of the agent, stand in a run folder's
`config.yaml`, where `env` says what `observe` said.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imm_rl.agents.sb3_settings import SETTINGS, setting_names
from imm_rl.cli import environments, values
from imm_rl.cli import train_checks as checks
from imm_rl.errors import InvalidInputError, unknown_name
from imm_rl.files import user_path
from imm_rl.settings_checks import MOST_STEPS

if TYPE_CHECKING:
    from imm_rl.agents.sb3_settings import SB3Settings
    from imm_rl.agents.settings import ReinforceSettings
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.pair import EnvPair

DEFAULTS: dict[str, Any] = {
    "env": None,
    "view": None,
    "restricted": None,
    "method": None,
    "temperature": None,
    "agent": None,
    "lambda": None,
    "steps": None,
    "seeds": None,
    "device": "auto",
    "logdir": "runs",
    "preset": "default",
}
"""Of the keys that are no settings of the agent; None: drawn, or as environment and agent suggest."""

OBSERVE = "observe"
"""A key of files and an option, that becomes a part of `env`."""

_FAST = {"steps": 2_000, "eval_points": 5, "eval_episodes": 20}
FAST: dict[str, dict[str, Any]] = {
    "reinforce": _FAST,
    "ppo": {**_FAST, "n_steps": 64},
    "a2c": _FAST,
}
"""What `--fast` sets, by agent: enough to see that everything works."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training as `config.yaml` has it: complete, with nothing left to a default.

    Attributes:
        view: What the agent sees: "full", or "restricted" to train the policy that sees less.
        method: What the restricted policy is used for, a name of `methods.METHODS`.
        seeds_drawn: Whether nobody gave the seed.
    """

    env: str
    view: str
    restricted: str
    method: str
    temperature: float | None
    agent: str
    imm_lambda: str
    steps: int
    seeds: tuple[int, ...]
    device: str
    logdir: str
    preset: str
    settings: ReinforceSettings | SB3Settings
    seeds_drawn: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Keys and plain values, as the file has them."""
        shown = {
            "env": self.env,
            "view": self.view,
            "restricted": self.restricted,
            "method": self.method,
            "temperature": self.temperature,
            "agent": self.agent,
            "lambda": self.imm_lambda,
            "steps": self.steps,
            "seeds": list(self.seeds),
            "device": self.device,
            "logdir": self.logdir,
            "preset": self.preset,
        }
        given = dataclasses.asdict(self.settings)
        return shown | {name: values.plain(value) for name, value in given.items()}

    def to_yaml(self) -> str:
        """The configuration file that makes this training again."""
        import yaml

        return str(yaml.safe_dump(self.as_dict(), sort_keys=False, default_flow_style=None))


def keys() -> list[str]:
    """Every key of a configuration file, those of all agents."""
    names = [name for agent in SETTINGS for name in setting_names(agent)]
    return list(dict.fromkeys([*DEFAULTS, OBSERVE, *names]))


def usual_lambda(method: str, agent: str, pair: EnvPair | FeaturePair, preset: str) -> str:
    """The λ of a method where nobody gives one."""
    from imm_rl.agents.defaults import DEFAULT_LAMBDA, training_defaults
    from imm_rl.agents.methods import METHODS

    if not METHODS[method].lambda_means:
        return "0"
    base = training_defaults(agent, pair.name, tabular=environments.is_tabular(pair))
    return str(METHODS[method].default_lambda or base.get("lambda", DEFAULT_LAMBDA[preset]))


def resolve(
    flags: dict[str, Any], file: dict[str, Any], *, source: str = "", fast: bool = False
) -> tuple[TrainConfig, EnvPair | FeaturePair]:
    """Lays the layers over each other and checks the result; nothing is solved, no disk is touched.

    Args:
        flags: Key -> text, of the options that were given.
        file: Key -> value, of a configuration file.
        source: The file's name, for errors.
        fast: Whether `--fast` was given: it overrides the file, and flags override it.

    Raises:
        InvalidInputError: A key is unknown, a value out of range, or two contradict each other.
    """
    from imm_rl.agents.defaults import training_defaults
    from imm_rl.agents.methods import checked_method

    for key in file:
        if key not in keys():
            raise unknown_name("key", key, keys(), f"in {source}")
    given = {**file, **flags}
    spec = given.pop("env", None)
    if spec is None:
        raise InvalidInputError(
            "no environment is given. Try --env tiger; `imm-rl envs` lists all of them."
        )
    texts = {
        key: values.text(key, given[key])
        for key in ("restricted", "method", "agent")
        if key in given
    }
    preset = values.text("preset", given.get("preset", DEFAULTS["preset"]))
    drawn = given.get("seeds") is None
    seeds = (values.drawn_seed(),) if drawn else values.seeds("seeds", given["seeds"])
    logdir, device = (
        values.text(key, given.get(key, DEFAULTS[key])) for key in ("logdir", "device")
    )
    temperature = given.get("temperature")
    if temperature is not None:
        temperature = values.positive("temperature", temperature)

    spec, observe = values.text("env", spec), given.pop(OBSERVE, None)
    pair = environments.checked_pair(
        spec if observe is None else environments.with_observe(spec, observe)
    )
    tabular = environments.is_tabular(pair)
    agent = checks.checked_agent(texts.get("agent"), pair)
    view = checks.checked_view(given.get("view"), pair, agent, texts.get("restricted"))
    checks.refuse_spaces(pair, agent, view)
    helps = tabular and view == "full" and texts.get("method") != "none"
    restricted = texts.get("restricted", "pomdp" if helps else "none")
    method = checked_method(texts.get("method"), helped=restricted != "none", agent=agent)
    if method != "none":
        checks.refuse_method(method, tabular=tabular)
    checks.refuse_settings(agent, {**given, "restricted": restricted}, flags, method)
    imm_lambda = checks.checked_lambda(given.get("lambda"), restricted, temperature, method)
    preset_values = checks.checked_preset(preset, agent)

    base = training_defaults(agent, pair.name, tabular=tabular)
    layers = {**preset_values, **base, **file, **(FAST[agent] if fast else {}), **flags}
    steps = layers["steps"] if layers.get("steps") is not None else base["steps"]
    names = setting_names(agent)
    settings = values.settings(
        {key: value for key, value in layers.items() if key in names}, SETTINGS[agent]
    )
    checks.refuse_misfits(agent, pair, restricted, settings, temperature)

    from imm_rl.device import torch_device  # last: imports torch

    torch_device(device)
    config = TrainConfig(
        env=pair.spec,
        view=view,
        restricted=environments.absolute_policy(restricted, pair),
        method=method,
        temperature=temperature,
        agent=agent,
        imm_lambda=imm_lambda or usual_lambda(method, agent, pair, preset),
        steps=values.count("steps", steps, MOST_STEPS),
        seeds=seeds,
        device=device,
        logdir=str(user_path(logdir)),
        preset=preset,
        settings=settings,
        seeds_drawn=drawn,
    )
    return config, pair
