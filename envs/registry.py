"""`make`: from a text to an environment pair; and the names that are known. Users and the CLI call it.

A spec of a tabular problem, an `EnvPair`, is one of
    tiger                          a registered name,
    grid(size=7, variance=0.2)     the same with options: literal values only,
    rocksample(7, 8)               values without a name are the first options, in their order,
    models/tag.POMDP               a Cassandra file (option max_steps),
    package.module:factory         a Python callable that returns an EnvPair or a TabularPOMDP,
    pomdp_py:tiger                 a problem of pomdp_py, or pomdp_py:module:factory for another;
and one of a `FeaturePair`
    CartPole-v1(observe=[2, 3])    a Gymnasium id, with what the restricted view sees and other options,
    ale_py:ALE/Pong-v5             the same, of a module that registers it when imported,
    package.module:factory         a callable that returns a FeaturePair or makes a Gymnasium environment.
`observe` is a list of indices of the flattened observation or a function, in a text 'module:function'.
Options stand in the text or are given as keywords.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imm_rl.envs import factories
from imm_rl.envs.factories import CALLABLE, Factory
from imm_rl.errors import InvalidInputError, invalid, unknown_name

if TYPE_CHECKING:  # models and pairs are imported when one is made: names are asked for often
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.pair import EnvPair

_FACTORIES: dict[str, Factory | str] = {  # text: looked up when first made
    "1d": "imm_rl.envs.one_d:one_d",
    "4x3": "imm_rl.envs.four_by_three:four_by_three",
    "4x4": "imm_rl.envs.four_by_four:four_by_four",
    "cheese": "imm_rl.envs.cheese:cheese",
    "crying-baby": "imm_rl.envs.crying_baby:crying_baby",
    "grid": "imm_rl.envs.grid:grid",
    "hallway": "imm_rl.envs.hallway:hallway",
    "hallway2": "imm_rl.envs.hallway2:hallway2",
    "light-dark": "imm_rl.envs.light_dark:light_dark",
    "mini-hall2": "imm_rl.envs.mini_hall2:mini_hall2",
    "network": "imm_rl.envs.network:network",
    "rocksample": "imm_rl.envs.rocksample:rocksample",
    "shuttle": "imm_rl.envs.shuttle:shuttle",
    "tag": "imm_rl.envs.tag:tag",
    "tiger": "imm_rl.envs.tiger:tiger",
    "tiger-grid": "imm_rl.envs.tiger_grid:tiger_grid",
    "tmaze": "imm_rl.envs.tmaze:tmaze",
}

_FORMS = (
    "Give a registered name, name(value, option=value), a path to a .POMDP file, a Gymnasium id, "
    "id-v0(observe=[0, 1]), or module:factory; option values are plain numbers, text in quotes, True, "
    "False, None or lists of these"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_POMDP_PY = "pomdp_py:"
_GYMNASIUM_ID = re.compile(r"(?:[A-Za-z_][\w.]*:)?(?:[\w:-]+/)?[\w:.-]+-v\d+")


def names() -> tuple[str, ...]:
    """The registered names, sorted."""
    return tuple(sorted(_FACTORIES))


def register(name: str, factory: Factory) -> None:
    """Makes a problem of your own known by name, to `make` and to Gymnasium.

    Args:
        name: Letters, digits, `-` and `_`; must not be taken.
        factory: Called with keyword options; returns an EnvPair or a TabularPOMDP.

    Raises:
        InvalidInputError: The name is malformed or taken, or factory cannot be called.
    """
    if not _NAME.fullmatch(name) or _GYMNASIUM_ID.fullmatch(name):
        raise invalid("name", "be letters, digits, - and _, and not end in -v<number>", name)
    if name in _FACTORIES:
        raise invalid("name", "not be taken", name, "Choose another name")
    if not callable(factory):
        raise invalid("factory", "be callable", factory)
    _FACTORIES[name] = factory
    from imm_rl.envs import gym_ids  # late: Gymnasium is needed only to tell it the new name

    gym_ids.register_pair(name)


def options(name: str) -> dict[str, Any]:
    """The options of a registered problem with their defaults.

    Raises:
        InvalidInputError: The name is not registered.
    """
    return {
        key: parameter.default
        for key, parameter in inspect.signature(_factory(name)).parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    }


def make(spec: str | Path, **options: Any) -> EnvPair | FeaturePair:
    """Builds the pair that a text describes; the forms are listed at the top of this module.

    Args:
        spec: The text; a path may be a `Path`.
        options: Options of the problem, as if they stood in the text. Of a Gymnasium environment:
            `observe`, what the restricted view sees (`imm_rl.envs.features.Features`); the others go to
            `gymnasium.make`.

    Raises:
        InvalidInputError: The name, an option or its value is wrong (with the nearest match), the
            text is malformed, or the file, module or factory cannot be used.
    """
    target, given = parse(str(spec))
    twice = sorted(given.keys() & options.keys())
    if twice:
        raise invalid(f"option {twice[0]!r}", "be given once", f"in {spec!r} and as a keyword")
    given.update(options)
    if "observe" in given:
        given["observe"] = _plain(given["observe"])
    pair: EnvPair | FeaturePair
    if _GYMNASIUM_ID.fullmatch(target):
        from imm_rl.envs import gymnasium_pairs

        others, observe = factories.apart(given)
        pair = gymnasium_pairs.of_id(target, others, observe)
    elif target.lower().endswith(".pomdp"):
        pair = factories.from_file(target, given)
    else:
        pair = factories.built(target, _found(target), given, own=_is_callable(target))
    return pair.with_spec(_text(target, given))


def tabular(pair: object, user: str = "what was asked for") -> EnvPair:
    """Returns pair where it is an `EnvPair`: for those who need a model.

    Args:
        pair: What `make` gave.
        user: Who needs the model, for the error, e.g. "imm-rl solve".

    Raises:
        InvalidInputError: pair is a `FeaturePair`, which has no model, or no pair at all.
    """
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.pair import EnvPair

    if isinstance(pair, EnvPair):
        return pair
    if isinstance(pair, FeaturePair):
        raise InvalidInputError(
            f"{pair.name} is a Gymnasium environment without a tabular model, and {user} needs one. "
            f"Train on it with PPO or A2C, or name a tabular problem: {', '.join(names())}."
        )
    remedy = "Make one with imm_rl.make('tiger') or imm_rl.EnvPair('name', model)"
    raise invalid("pair", "be an EnvPair", pair, remedy)


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """Splits `target(value, key=value, ...)` into the target and its options; values are literals.

    Values without a name are the target's options in the order in which its factory declares them; the
    factory is looked up, and imported, where there are any.

    Raises:
        InvalidInputError: The text is malformed (the message lists the forms), there are more values
            than options, or one is given twice.
    """
    text = spec.strip()
    if not text:
        raise invalid("environment", "not be empty", spec, _FORMS)
    if text.lower().endswith(".pomdp") or not ("(" in text or ")" in text):
        return text, {}
    target, _, inside = text.partition("(")
    target = target.strip()
    try:
        values, given = _literals(f"_({inside}")
    except (SyntaxError, ValueError):  # ValueError: a value that is no literal
        raise invalid("environment", "be of the form name(option=value)", spec, _FORMS) from None
    return target, _bound(target, values, given) if values else given


def _bound(target: str, values: list[Any], given: dict[str, Any]) -> dict[str, Any]:
    """The options, those given by their place first."""
    names = _option_names(target)
    if len(values) > len(names):
        room = f"have at most {len(names)} ({', '.join(names)})" if names else "have names"
        raise invalid(f"values of environment {target}", room, values)
    bound = dict(zip(names, values, strict=False))
    for name in bound.keys() & given.keys():
        place = f"as value {names.index(name) + 1}, {bound[name]!r}, and by name, {given[name]!r}"
        raise invalid(f"option {name!r}", "be given once", place)
    return bound | given


def _option_names(target: str) -> list[str]:
    """The options of a target in the order of its factory; those it takes besides have no place."""
    if _GYMNASIUM_ID.fullmatch(target):
        return []
    if target.lower().endswith(".pomdp"):
        return list(factories.FILE_OPTIONS)
    parameters = inspect.signature(_found(target)).parameters.values()
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _text(target: str, given: dict[str, Any]) -> str:
    """The text that `make` reads back; "" where a value given as a keyword cannot be written so."""
    if not given:
        return target
    text = f"{target}({', '.join(f'{key}={value!r}' for key, value in given.items())})"
    try:
        return text if parse(text) == (target, given) else ""
    except ValueError:  # InvalidInputError; or an array, whose comparison has no one truth
        return ""


def _plain(observe: Any) -> Any:
    """Indices in a form that a text can hold; a function as it is."""
    if isinstance(observe, range):
        return list(observe)
    return observe.tolist() if hasattr(observe, "tolist") else observe


def _literals(call_text: str) -> tuple[list[Any], dict[str, Any]]:
    call = ast.parse(call_text, mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise SyntaxError
    given: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in given:
            raise SyntaxError
        given[keyword.arg] = ast.literal_eval(keyword.value)
    return [ast.literal_eval(value) for value in call.args], given


def _is_callable(target: str) -> bool:
    return bool(CALLABLE.fullmatch(target)) or target.startswith(_POMDP_PY)


def _found(target: str) -> Factory:
    return _callable(target) if _is_callable(target) else _factory(target)


def _factory(name: str) -> Factory:
    if name not in _FACTORIES:
        from imm_rl.envs import gymnasium_pairs

        newest = gymnasium_pairs.versioned(name)
        if newest is not None:
            raise InvalidInputError(f"unknown environment {name!r}. Did you mean {newest!r}?")
        if Path(name).is_file():
            raise InvalidInputError(
                f"unknown environment {name!r}. There is a file of this name; if it is a POMDP file, give "
                f"it a name that ends in .POMDP, such as {Path(name).with_suffix('.POMDP')}."
            )
        raise unknown_name("environment", name, _FACTORIES)
    factory = _FACTORIES[name]
    return factories.imported(factory) if isinstance(factory, str) else factory


def _callable(target: str) -> Factory:
    if not target.startswith(_POMDP_PY):
        return factories.imported(target)
    from imm_rl.envs import pomdp_py_problems

    return pomdp_py_problems.factory(target, factories.imported)
