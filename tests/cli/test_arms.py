"""`--methods`: what it names, what it shares, what is refused."""

from __future__ import annotations

import pytest

from imm_rl.agents.methods import METHODS
from imm_rl.cli.arms import SHARED, parse_arms
from imm_rl.cli.train_config import keys
from imm_rl.errors import InvalidInputError


def test_arms_have_methods_and_options_of_their_own() -> None:
    text = "none, imm(lambda=linear:1->0@0.5, restricted=fib),imm(lambda='exp:1,half=0.1'),bc(bc-updates=9)"

    arms = parse_arms(text, keys())

    assert [arm.method for arm in arms] == ["none", "imm", "imm", "bc"]
    assert [arm.options for arm in arms] == [
        {},
        {"lambda": "linear:1->0@0.5", "restricted": "fib"},
        {"lambda": "exp:1,half=0.1"},
        {"bc_updates": "9"},
    ]
    assert arms[1].label == "imm(lambda=linear:1->0@0.5,restricted=fib)"
    assert arms[0].label == "none"


def test_an_arm_takes_what_all_share_but_what_it_has_no_use_for() -> None:
    common = {"env": "tiger", "lambda": "0.5", "restricted": "fib", "gamma": "0.9", "seeds": "0-1"}
    none, imm, bc = parse_arms("none,imm(gamma=0.8),bc", keys())

    assert none.over(common) == {"env": "tiger", "gamma": "0.9", "seeds": "0-1"} | {
        "restricted": "none",
        "method": "none",
    }
    assert imm.over(common) == {**common, "gamma": "0.8", "method": "imm"}
    assert bc.over(common)["restricted"] == "fib"
    assert "lambda" not in bc.over(common)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_an_arm(method: str) -> None:
    other = "imm" if method == "none" else "none"

    assert [arm.method for arm in parse_arms(f"{other},{method}", keys())] == [other, method]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "methods must have the form"),
        ("none", "methods must name at least two"),
        ("none,,imm", "methods must have the form"),
        ("none,imm(", "methods must have the form"),
        ("none,imm)", "methods must have the form"),
        ("none,imm(lambda)", "methods must have the form"),
        ("none,imm(lambda=)", "methods must have the form"),
        ("none,imm(lambda='0.5)", "methods must have the form"),
        ("none,imm(0.5)x", "methods must have the form"),
        ("none,imn", "unknown method 'imn'. Did you mean 'imm'?"),
        ("none,imm(lamda=1)", "Did you mean 'lambda'?"),
        ("none,imm(lambda=1,lambda=2)", "lambda must be given once"),
        ("imm,none(restricted=fib)", "method 'none' has none"),
        ("imm,imm", "methods must all differ; received 'imm'"),
        *((f"none,imm({key}=1)", "is the same for all methods") for key in SHARED),
    ],
)
def test_methods_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        parse_arms(text, keys())

    assert message in str(error.value)
