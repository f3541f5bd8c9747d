"""What `imm-rl train` is told, and by whom: defaults < preset < file < flags, checked before anything runs.

Every option of `imm-rl train --help` that shapes the training is a key of the configuration file under
the same name, with `_` for `-`. The same keys, all of them, stand in a run folder's `config.yaml`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imm_rl.cli import values
from imm_rl.errors import ImmRlError, InvalidInputError, unknown_name

if TYPE_CHECKING:
    from imm_rl.agents.settings import ReinforceSettings
    from imm_rl.envs.pair import EnvPair

DEFAULTS: dict[str, Any] = {
    "env": None,
    "restricted": "pomdp",
    "temperature": None,
    "agent": "reinforce",
    "lambda": None,
    "steps": None,
    "seeds": None,
    "device": "auto",
    "logdir": "runs",
    "preset": "default",
}
"""Of the keys that are no settings of the agent; None: drawn, or the environment's or agent's default."""

FAST: dict[str, Any] = {"steps": 2_000, "eval_points": 5, "eval_episodes": 20}
"""What `--fast` sets: enough to see that everything works."""

AGENTS_TO_COME = ("ppo", "a2c")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training as `config.yaml` has it: complete, with nothing left to a default.

    Attributes:
        seeds_drawn: Whether nobody gave the seed.
    """

    env: str
    restricted: str
    temperature: float | None
    agent: str
    imm_lambda: str
    steps: int
    seeds: tuple[int, ...]
    device: str
    logdir: str
    preset: str
    settings: ReinforceSettings
    seeds_drawn: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Keys and plain values, as the file has them."""
        shown = {
            "env": self.env,
            "restricted": self.restricted,
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


def setting_names() -> list[str]:
    """The keys that are settings of the agent."""
    from imm_rl.agents.settings import ReinforceSettings

    return [field.name for field in dataclasses.fields(ReinforceSettings)]


def resolve(
    flags: dict[str, Any], file: dict[str, Any], *, source: str = "", fast: bool = False
) -> tuple[TrainConfig, EnvPair]:
    """Lays the layers over each other and checks the result; nothing is solved, no disk is touched.

    Args:
        flags: Key -> text, of the options that were given.
        file: Key -> value, of a configuration file.
        source: The file's name, for errors.
        fast: Whether `--fast` was given: it overrides the file, and flags override it.

    Raises:
        InvalidInputError: A key is unknown, a value out of range, or two contradict each other.
    """
    from imm_rl.agents.defaults import DEFAULT_LAMBDA, training_steps
    from imm_rl.agents.settings import PRESETS

    known = [*DEFAULTS, *setting_names()]
    for key in file:
        if key not in known:
            raise unknown_name(f"key in {source}", key, known)
    upper = {**file, **(FAST if fast else {}), **flags}
    top = {**DEFAULTS, **{k: v for k, v in upper.items() if k in DEFAULTS}}
    if top["env"] is None:
        raise InvalidInputError(
            "no environment is given. Try --env tiger; `imm-rl envs` lists all of them."
        )
    if top["restricted"] == "none":
        for key in ("contexts", "context_weight"):
            if key in flags:
                raise InvalidInputError(
                    f"{key} says where to match, and restricted is 'none': there is nothing to match. "
                    "Give up one."
                )
    preset = values.text("preset", top["preset"])
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    agent = _checked_agent(values.text("agent", top["agent"]))
    restricted = values.text("restricted", top["restricted"])
    drawn = top["seeds"] is None
    seeds = (_drawn_seed(),) if drawn else values.seeds("seeds", top["seeds"])
    steps = None if top["steps"] is None else values.count("steps", top["steps"])
    logdir, device = values.text("logdir", top["logdir"]), values.text("device", top["device"])
    temperature = top["temperature"]
    if temperature is not None:
        temperature = values.positive("temperature", temperature)
    imm_lambda = _checked_lambda(top["lambda"], restricted, temperature)

    pair = checked_pair(values.text("env", top["env"]))
    chosen = {k: v for k, v in upper.items() if k not in DEFAULTS}
    settings = values.settings({**PRESETS[preset], **chosen})

    from imm_rl.agents.arguments import torch_device  # last: imports torch

    torch_device(device)
    config = TrainConfig(
        env=pair.spec,
        restricted=_absolute(restricted),
        temperature=temperature,
        agent=agent,
        imm_lambda=DEFAULT_LAMBDA[preset] if imm_lambda is None else imm_lambda,
        steps=steps or training_steps(pair.name),
        seeds=seeds,
        device=device,
        logdir=logdir,
        preset=preset,
        settings=settings,
        seeds_drawn=drawn,
    )
    return config, pair


def checked_pair(spec: str) -> EnvPair:
    """The environment pair of a spec, with a file's path made absolute.

    Raises:
        InvalidInputError: There is no such environment, or its factory fails.
    """
    from imm_rl.envs.registry import make, parse

    try:
        pair = make(spec)
        target, _ = parse(spec)
    except ImmRlError:
        raise
    except Exception as error:  # of a user's factory
        raise InvalidInputError(
            f"environment {spec!r} cannot be built: {type(error).__name__}: {error}"
        ) from error
    return pair.with_spec(pair.spec.replace(target, _absolute(target), 1))


def _absolute(text: str) -> str:
    """A file's path from the root, so that a run goes on from whatever folder; other texts as they are."""
    from imm_rl.agents.restricted.policy_files import is_policy_file

    is_file = text.lower().endswith(".pomdp") or is_policy_file(text)
    return str(Path(text).absolute()) if is_file else text


def _checked_agent(name: str) -> str:
    if name in AGENTS_TO_COME:
        raise InvalidInputError(f"agent {name!r} is not served yet. Use --agent reinforce.")
    if name != "reinforce":
        raise unknown_name("agent", name, ["reinforce"])
    return name


def _checked_lambda(value: Any, restricted: str, temperature: float | None) -> str | None:
    """The schedule's text, None for the agent's own; refused where there is nothing to match."""
    if restricted != "none":
        return None if value is None else _schedule_text(value)
    if temperature is not None:
        raise InvalidInputError(
            "temperature is that of the restricted policy, and restricted is 'none'. Give up one."
        )
    if value is not None and _schedule_text(value) != "0":
        raise InvalidInputError(
            f"lambda is {value}, and restricted is 'none': there is nothing to match. Give up one."
        )
    return "0"


def _schedule_text(value: Any) -> str:
    from imm_rl.schedules import parse

    return str(parse(value).text)


def _drawn_seed() -> int:
    import secrets

    return secrets.randbelow(1_000_000)
