"""From a factory, or a file, to an environment pair; `registry.make` calls it with options it has read."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from imm_rl.errors import InvalidInputError, invalid, unknown_name

if TYPE_CHECKING:  # late, as in the registry
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.model import TabularPOMDP
    from imm_rl.envs.pair import EnvPair

Factory: TypeAlias = Callable[..., "EnvPair | TabularPOMDP | FeaturePair"]

FILE_OPTIONS = ("max_steps",)
CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def imported(target: str, what: str = "environment", kind: str = "factory") -> Callable[..., Any]:
    """What `module:name` names.

    Args:
        target: The text.
        what: What it is for, in errors.
        kind: What `name` is, in errors.

    Raises:
        InvalidInputError: There is no such module or name, or it cannot be called.
    """
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InvalidInputError(
            f"cannot import {module_name!r} of {what} {target!r}: {error}. "
            f"Give module:{kind} with a module that Python can import from here."
        ) from error
    value: Any = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            close = difflib.get_close_matches(part, dir(value), n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise InvalidInputError(f"module {module_name!r} has no {kind} {attribute!r}.{hint}")
        value = getattr(value, part)
    if not callable(value):
        raise invalid(target, "be callable", value)
    return value  # type: ignore[no-any-return]


def apart(given: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The options without `observe`, and what that means: indices, a function or None.

    Raises:
        InvalidInputError: observe is a text that names no function.
    """
    others = {key: value for key, value in given.items() if key != "observe"}
    observe = given.get("observe")
    if not isinstance(observe, str):
        return others, observe
    if not CALLABLE.fullmatch(observe):
        remedy = "Write observe=[2, 3] or observe='module:function'"
        raise invalid("observe", "be a list of indices or a function", observe, remedy)
    return others, imported(observe, "the observe function", "function")


def built(
    target: str, factory: Factory, given: dict[str, Any], *, own: bool
) -> EnvPair | FeaturePair:
    """The pair that a factory builds of options.

    Args:
        target: The factory as the user named it.
        factory: What to call.
        given: Its options; and `observe`, unless the factory takes that itself.
        own: Whether it is a user's: those may also return a FeaturePair or make a Gymnasium environment.

    Raises:
        InvalidInputError: An option is unknown or missing, or the factory returns something else.
    """
    import gymnasium

    from imm_rl.envs import gymnasium_pairs
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.model import TabularPOMDP
    from imm_rl.envs.pair import EnvPair

    if "observe" in given and not own:
        raise _no_observe(target)
    is_env = own and isinstance(factory, type) and issubclass(factory, gymnasium.Env)
    passed, observe = apart(given) if is_env or not _takes_observe(factory) else (given, None)
    _check_options(target, factory, passed)
    if is_env:
        return gymnasium_pairs.of_factory(target, factory, passed, observe)
    result: object = factory(**passed)
    if own and isinstance(result, gymnasium.Env):
        result.close()
        if "observe" in passed:
            remedy = "Return a FeaturePair, or call the argument something else"
            raise invalid(target, "not take observe and return a gymnasium.Env", result, remedy)
        return gymnasium_pairs.of_factory(target, factory, passed, observe)
    if observe is not None:
        raise _no_observe(target)
    if isinstance(result, TabularPOMDP):
        return EnvPair(target.rpartition(":")[2], result)
    if not isinstance(result, (EnvPair, FeaturePair) if own else EnvPair):
        wanted = "an EnvPair or a TabularPOMDP"
        if own:
            wanted = "an EnvPair, a TabularPOMDP, a FeaturePair or a gymnasium.Env"
        raise invalid(target, f"return {wanted}", type(result).__name__)
    return result


def _takes_observe(factory: Factory) -> bool:
    parameters = inspect.signature(factory).parameters
    return "observe" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _check_options(target: str, factory: Factory, given: dict[str, Any]) -> None:
    signature = inspect.signature(factory)
    if not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        for key in given:
            if key not in signature.parameters:
                raise unknown_name("option", key, signature.parameters, f"of environment {target}")
    try:
        signature.bind(**given)
    except TypeError as error:  # an option without default that was not given
        raise InvalidInputError(f"environment {target!r} cannot be built: {error}.") from None


def from_file(path: str, given: dict[str, Any]) -> EnvPair:
    """The pair of a .POMDP file.

    Raises:
        InvalidInputError: The file is missing or malformed, or an option is unknown.
    """
    from imm_rl.envs.model import TabularPOMDP
    from imm_rl.envs.pair import EnvPair

    if "observe" in given:
        raise _no_observe(path)
    for key in given:
        if key not in FILE_OPTIONS:
            raise unknown_name("option of a .POMDP file", key, FILE_OPTIONS)
    if not Path(path).is_file():
        raise invalid("environment", "be a .POMDP file that exists", path)
    return EnvPair(Path(path).stem, TabularPOMDP.load(path), source=path, **given)


def _no_observe(target: str) -> InvalidInputError:
    return InvalidInputError(
        f"{target!r} has no option observe: what its restricted view sees is part of the problem. observe "
        "is for Gymnasium environments, e.g. CartPole-v1(observe=[2, 3])."
    )
