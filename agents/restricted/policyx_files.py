"""PolicyX, the XML of SARSOP (APPL): `.policy` and `.policyx`, dense and sparse vectors, in and out.

    <Policy version="0.1" type="value">
    <AlphaVector vectorLength="3" numObsValue="1" numVectors="2">
    <Vector action="1" obsValue="0">1.5 0 -2 </Vector>
    <SparseVector action="0" obsValue="0"><Entry>2 0.5</Entry></SparseVector>
    </AlphaVector> </Policy>

What a `SparseVector` does not give is 0. The reader refuses a DOCTYPE, and so every entity, whatever
else is no such file, and policies of models with mixed observability (numObsValue above 1): their
vectors hold only where the observed variable has one value, and the file does not say which states
these are. Written are dense vectors unless sparse ones are asked for: APPL reads the sparse ones that
it writes wrongly, and most other readers know none. `AlphaVectorPolicy.save` and `.load` call this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any
from xml.etree.ElementTree import ParseError
from xml.parsers import expat

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from imm_rl.agents.restricted.policy_numbers import (
    MAX_ACTION,
    MAX_NUMBERS,
    NotANumberError,
    numbers,
    row_text,
)
from imm_rl.agents.solvers.base import IntArray
from imm_rl.envs.cassandra_tokens import is_integer
from imm_rl.envs.model import FloatArray
from imm_rl.errors import InvalidInputError
from imm_rl.files import write_atomically

_CHILDREN = {
    "": ("Policy",),
    "Policy": ("AlphaVector",),
    "AlphaVector": ("Vector", "SparseVector"),
    "SparseVector": ("Entry",),
}
_WITH_NUMBERS = ("Vector", "Entry")
_CHUNK = 1 << 20


def write(
    path: str | Path,
    rows: Iterable[tuple[int, FloatArray]],
    *,
    n_states: int,
    n_vectors: int,
    sparse: bool = False,
) -> None:
    """Writes vectors as they come; the file appears complete or stays as it was.

    Args:
        path: The file.
        rows: The action and the numbers (S,) of each vector.
        n_states: S.
        n_vectors: How many rows will come.
        sparse: Whether to write the numbers that are not 0 alone.

    Raises:
        InvalidInputError, RunFailedError: As `write_atomically`.
    """
    head = (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n'
        '<Policy version="0.1" type="value" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:noNamespaceSchemaLocation="policyx.xsd">\n'
        f'<AlphaVector vectorLength="{n_states}" numObsValue="1" numVectors="{n_vectors}">\n'
    )

    def body(file: IO[bytes]) -> None:
        file.write(head.encode())
        for action, row in rows:
            file.write((_sparse(action, row) if sparse else _dense(action, row)).encode())
        file.write(b"</AlphaVector> </Policy>\n")

    write_atomically(path, body)


def _dense(action: int, row: FloatArray) -> str:
    return f'<Vector action="{action}" obsValue="0">{row_text(row)} </Vector>\n'


def _sparse(action: int, row: FloatArray) -> str:
    given = np.flatnonzero((row != 0.0) | np.signbit(row))  # -0.0 is another number than 0.0
    pairs = zip(given.tolist(), row[given].tolist(), strict=True)
    entries = "".join(f"<Entry>{state} {value!r}</Entry>" for state, value in pairs)
    return f'<SparseVector action="{action}" obsValue="0">{entries}</SparseVector>\n'


def read(path: str | Path) -> tuple[FloatArray, IntArray]:
    """The vectors (V, S) and their actions (V,).

    Raises:
        InvalidInputError: The file cannot be read or is no such file; with its line where there is one.
    """
    target = _Vectors(str(path))
    parser = DefusedXMLParser(target=target, forbid_dtd=True)
    target.position = parser.parser
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                parser.feed(chunk)
        parser.close()
    except InvalidInputError:
        raise
    except ParseError as error:
        line, column = error.position
        what = expat.ErrorString(error.code) or "no XML"
        raise InvalidInputError(
            f"{path}:{line}:{column + 1}: is no whole XML file: {what}; expected a SARSOP policy."
        ) from error
    except DefusedXmlException as error:
        raise target.error(
            "expected no DOCTYPE and no entities, as policy files need none; found some"
        ) from error
    except (LookupError, ValueError) as error:  # of the encoding that the file says it has
        raise target.error(f"cannot be decoded: {error}") from error
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror or error}.") from error
    return np.stack(target.rows), np.array(target.actions, dtype=np.int64)


class _Vectors:
    """Takes the tags and texts of a file as the parser comes upon them, and refuses what is wrong."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.position: Any = None  # the parser's, set once there is a parser
        self.rows: list[FloatArray] = []
        self.actions: list[int] = []
        self._open: list[str] = []
        self._seen: set[str] = set()
        self._length = 0
        self._declared: int | None = None
        self._text: list[str] = []
        self._given: set[int] = set()

    def error(self, text: str, line: int | None = None) -> InvalidInputError:
        """Builds an error at a line, or at the tag that the parser is at."""
        place = f"{line}" if line else self._place()
        return InvalidInputError(f"{self.path}:{place}: {text}.")

    def _place(self) -> str:
        return f"{self.position.CurrentLineNumber}:{self.position.CurrentColumnNumber + 1}"

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        tag = tag.rpartition("}")[2]
        parent = self._open[-1] if self._open else ""
        expected = _CHILDREN.get(parent, ())
        if tag not in expected:
            tags = " or ".join(f"<{child}>" for child in expected) or f"no tag in <{parent}>"
            raise self.error(f"expected {tags}; found <{tag[:60]}>")
        if tag in ("Policy", "AlphaVector") and tag in self._seen:
            raise self.error(f"expected one <{tag}>; found another")
        self._seen.add(tag)
        self._open.append(tag)
        self._text.clear()
        if tag == "Policy" and attributes.get("type", "value") != "value":
            kind = attributes["type"][:60]
            raise self.error(f"expected a policy of type 'value', alpha vectors; found {kind!r}")
        if tag == "AlphaVector":
            self._begin_set(attributes)
        elif tag in ("Vector", "SparseVector"):
            self._begin_vector(tag, attributes)

    def data(self, text: str) -> None:
        if self._open and self._open[-1] in _WITH_NUMBERS:
            self._text.append(text)
        elif text.strip():
            word = text.split()[0][:60]
            raise self.error(f"expected tags alone in <{self._open[-1]}>; found {word!r}")

    def end(self, tag: str) -> None:
        tag = self._open.pop()
        if tag == "Vector":
            values = self._numbers()
            if values.size != self._length:
                raise self.error(
                    f"expected {self._length} numbers in <Vector>, as vectorLength says; found "
                    f"{values.size}"
                )
            self.rows.append(values)
        elif tag == "Entry":
            self._set_entry(self._numbers())
        elif tag == "AlphaVector" and self._declared not in (None, len(self.rows)):
            raise self.error(
                f"expected {self._declared} vectors, as numVectors says; found {len(self.rows)}"
            )

    def close(self) -> None:
        if not self.rows:
            raise self.error("expected at least one <Vector>; found none")

    def _begin_set(self, attributes: Mapping[str, str]) -> None:
        self._length = self._whole(attributes, "vectorLength", at_least=1)
        if "numVectors" in attributes:
            self._declared = self._whole(attributes, "numVectors", at_least=1)
        observed = self._whole(attributes, "numObsValue", at_least=1, default=1)
        if observed != 1:
            raise self.error(
                f"expected numObsValue 1; found {observed}: a policy for mixed observability, whose "
                "vectors hold for one value of the observed variable each. Solve the model written "
                "with one state variable"
            )

    def _begin_vector(self, tag: str, attributes: Mapping[str, str]) -> None:
        action = self._whole(attributes, "action", at_least=0)
        if action > MAX_ACTION:
            raise self.error(f"expected an action up to {MAX_ACTION:,}; found {action}")
        self.actions.append(action)
        if self._whole(attributes, "obsValue", at_least=0, default=0) != 0:
            raise self.error(
                f"expected obsValue 0, as numObsValue is 1; found {attributes['obsValue']!r}"
            )
        if len(self.actions) * self._length > MAX_NUMBERS:
            raise self.error(f"expected at most {MAX_NUMBERS:,} numbers in all vectors; found more")
        if tag == "SparseVector":
            self.rows.append(np.zeros(self._length))
            self._given.clear()

    def _set_entry(self, values: FloatArray) -> None:
        if values.size != 2:
            raise self.error(
                f"expected a state and a number in <Entry>; found {values.size} numbers"
            )
        state = int(values[0])
        if state != values[0] or not 0 <= state < self._length:
            span = f"expected a state from 0 to {self._length - 1} in <Entry>"
            raise self.error(f"{span}; found {values[0]:.17g}")
        if state in self._given:
            raise self.error(f"expected each state once in <SparseVector>; found {state} again")
        self._given.add(state)
        self.rows[-1][state] = values[1]

    def _numbers(self) -> FloatArray:
        text = "".join(self._text)
        try:
            return numbers(text)
        except NotANumberError as bad:
            # The parser is at the closing tag, so lines are counted back from there.
            line = self.position.CurrentLineNumber - text.count("\n", bad.at)
            raise self.error(f"expected a finite number; found {bad.word!r}", line) from None

    def _whole(
        self, attributes: Mapping[str, str], name: str, *, at_least: int, default: int | None = None
    ) -> int:
        text = attributes.get(name, "" if default is None else str(default)).strip()
        if not is_integer(text) or int(text) < at_least:
            found = repr(text[:60]) if name in attributes else "none"
            raise self.error(f"expected a whole number ≥ {at_least} for {name}; found {found}")
        return int(text)
