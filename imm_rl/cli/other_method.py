"""A configuration file of one method under another `--method`: what of it still holds.

`--print-config` writes everything, what belongs to the file's own method too: its λ, settings that it alone
has a use for, the restricted policy or that there is none. One rule, for `imm-rl train` and
`imm-rl lm train`, where `--method` names another method than the file:

    Of these entries, one that has the default of the file's method is as if it were not there.
    Any other holds; one that the new method has no use for is refused by name.

Options go before the file, as ever. What was set aside is told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from imm_rl.errors import InvalidInputError

File = dict[str, Any]


def of_agent(flags: Mapping[str, Any], file: File, source: str) -> tuple[File, str]:
    """The entries of a file of `imm-rl train` that hold, and what to say of the others.

    Args:
        flags: Key -> text, of the options that were given.
        file: Key -> value.
        source: The file's name.

    Returns:
        The entries, and a line, empty where all hold.

    Raises:
        InvalidInputError: The new method has no use for an entry that somebody chose.
    """
    from imm_rl.agents.methods import METHODS
    from imm_rl.agents.sb3_settings import SETTINGS
    from imm_rl.agents.settings import PRESETS

    was, now = file.get("method"), flags.get("method")
    if was == now or was not in METHODS or now not in METHODS:
        return file, ""
    found = _of_file(flags, file)
    if found is None:
        return file, ""
    agent, pair, tabular, preset = found
    change = _Change(was, now, source)
    from imm_rl.agents.defaults import training_defaults
    from imm_rl.cli.train_config import usual_lambda

    layers = {**PRESETS[preset], **training_defaults(agent, pair.name, tabular=tabular)}
    defaults = {field.name: field.default for field in dataclasses.fields(SETTINGS[agent])} | layers
    helped = now != "none"
    for key in (key for key in file if key not in flags):
        value = file[key]
        if key == "lambda":
            usual = {name: usual_lambda(name, agent, pair, preset) for name in (was, now)}
            if _schedule(value) == _schedule(usual[was]):
                change.gives_way(key, value, differs=usual[was] != usual[now])
            elif not METHODS[now].lambda_means:
                change.refuse(key, value, "give --lambda 0")
        elif key == "restricted":
            usual_policy = "pomdp" if tabular and was != "none" else "none"
            if value == usual_policy:
                change.gives_way(key, value, differs="none" in (was, now))
            elif not helped and value != "none":
                change.refuse(key, value, "give --restricted none")
        elif _chosen_in_vain(key, value, now, SETTINGS[agent], defaults):
            change.refuse(key, value)
    return change.kept(file), change.told


def _chosen_in_vain(
    key: str, value: Any, method: str, kind: Any, defaults: Mapping[str, Any]
) -> bool:
    """Whether an entry, of `bc` or on how to match, is no default and the method has no use for it."""
    from imm_rl.agents.sb3_settings import MATCHING

    if method == "none" and key == "temperature":
        return value is not None
    useless = (key.startswith("bc_") and method != "bc") or (key in MATCHING and method == "none")
    return useless and key in defaults and _setting(key, value, kind) != defaults[key]


def of_language_model(flags: Mapping[str, Any], file: File, source: str) -> tuple[File, str]:
    """The entries of a file of `imm-rl lm train` that hold, and what to say of the others.

    Args, returns and raises: as `of_agent`.
    """
    from imm_rl.language.lm_presets import MODELS, PRESETS, default_lambda
    from imm_rl.language.lm_settings import METHODS, LMSettings, checked_method, refuse_unused

    names = (*METHODS, "imm")
    if file.get("method") not in names or flags.get("method") not in names:
        return file, ""
    was, now = checked_method(file["method"]), checked_method(flags["method"])
    preset = file.get("preset", "laptop")
    model = file.get("model", next(iter(PRESETS.get(preset, {})), None))
    if was == now or preset not in PRESETS or model not in MODELS or model not in PRESETS[preset]:
        return file, ""
    change = _Change(was, now, source)
    defaults = {f.name: f.default for f in dataclasses.fields(LMSettings)}
    defaults.update(PRESETS[preset][model])
    for key in (key for key in file if key not in flags):
        value = file[key]
        if key == "lambda":
            usual = {name: default_lambda(preset, model, name) for name in (was, now)}
            if _schedule(value) == _schedule(usual[was]):
                change.gives_way(key, value, differs=usual[was] != usual[now])
            elif now == "none":
                change.refuse(key, value, "give --lambda 0")
        elif key in defaults:
            try:
                refuse_unused(now, {key: value}, "transformer")  # of the method alone
            except InvalidInputError:
                if _setting(key, value, LMSettings) != defaults[key]:
                    change.refuse(key, value)
                change.gives_way(key, value)
    return change.kept(file), change.told


class _Change:
    """Gathers what gives way.

    Args:
        was: The file's method.
        now: That of the command line.
        source: The file's name.
    """

    def __init__(self, was: str, now: str, source: str) -> None:
        self._was, self._now, self._source = was, now, source
        self._aside: dict[str, Any] = {}

    def gives_way(self, key: str, value: Any, *, differs: bool = True) -> None:
        """Sets an entry aside, where the new method would have it otherwise."""
        if differs:
            self._aside[key] = value

    def refuse(self, key: str, value: Any, remedy: str = "") -> None:
        """Refuses an entry that was chosen and has no use."""
        raise InvalidInputError(
            f"{self._source} has {key} {value}, of which the method {self._now!r} has no use. Delete it "
            f"there{f', {remedy}' if remedy else ''}, or use --method {self._was}."
        )

    def kept(self, file: File) -> File:
        """The entries that hold."""
        return {key: value for key, value in file.items() if key not in self._aside}

    @property
    def told(self) -> str:
        """What was set aside, in a line."""
        if not self._aside:
            return ""
        listed = ", ".join(f"{key} {value}" for key, value in self._aside.items())
        return (
            f"{self._source} is of method {self._was!r}; for --method {self._now} its defaults are set "
            f"aside: {listed}"
        )


def _of_file(flags: Mapping[str, Any], file: File) -> tuple[str, Any, bool, str] | None:
    """Agent, pair, whether it is tabular, and preset of a file; None where no environment is named."""
    from imm_rl.cli import environments
    from imm_rl.cli.train_checks import checked_agent, checked_preset

    told = {**flags, **file}
    spec, observe, preset = (told.get(key) for key in ("env", "observe", "preset"))
    if not isinstance(spec, str):
        return None
    preset = "default" if preset is None else str(preset)
    pair = environments.checked_pair(
        spec if observe is None else environments.with_observe(spec, observe)
    )
    agent = checked_agent(told.get("agent"), pair)
    checked_preset(preset, agent)
    return agent, pair, environments.is_tabular(pair), preset


def _schedule(value: Any) -> str | None:
    """A λ as its schedule writes it; None where it is none, which `resolve` refuses."""
    from imm_rl.schedules import parse

    try:
        return str(parse(value).text)
    except InvalidInputError:
        return None


def _setting(key: str, value: Any, kind: Any) -> Any:
    """A setting as its class has it; as it was given where it is none, which `resolve` refuses."""
    from imm_rl.cli import values

    try:
        return getattr(values.settings({key: value}, kind), key)
    except InvalidInputError:
        return value
