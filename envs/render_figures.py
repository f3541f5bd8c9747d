"""Drawings of the problems that have figures: the tiger's doors, the baby in its cot.

The full view shows what is behind the doors and how the baby feels; the restricted view what was
heard.
"""

from __future__ import annotations

from imm_rl.envs import canvas
from imm_rl.envs.canvas import Canvas
from imm_rl.envs.render import WIDTH, Drawing, Scene

_FLOOR = 330
_DOORS = (120.0, 360.0)
"""Middle of the left and the right door, pixels from the left."""
_FUR = (236, 145, 58)
_SKIN = (250, 214, 186)


def _tiger_text(scene: Scene) -> str:
    behind = ["?", "?"]
    if scene.state is not None:
        behind = ["T", "$"] if scene.state == 0 else ["$", "T"]
    opened = None if scene.action in (None, 0) else scene.action
    shown = [f"[{b}]" if opened == door else f"|{b}|" for door, b in enumerate(behind, start=1)]
    heard = _heard(scene)
    ear = ("<(", "  ")[heard] + "o" + ("  ", ")>")[heard] if heard is not None else "  o  "
    return f"{shown[0]} {ear} {shown[1]}"


def _tiger_picture(scene: Scene, sheet: Canvas) -> None:
    sheet.box(0, _FLOOR, WIDTH, 23, canvas.mix(canvas.WOOD, canvas.WHITE, 0.55))
    for door, middle in enumerate(_DOORS):
        opened = scene.action == door + 1
        _door(sheet, middle, opened)
        if scene.state is None:
            sheet.text(middle, 178, "?", 60, canvas.mix(canvas.WOOD, canvas.WHITE, 0.75), bold=True)
        elif scene.state == door:
            _tiger_face(sheet, middle, 178)
        else:
            _prize(sheet, middle, 180)
    heard = _heard(scene)
    _listener(sheet, WIDTH / 2, heard, listening=scene.action == 0)


def _heard(scene: Scene) -> int | None:
    """The side heard, 0 or 1; None where the observation says nothing."""
    return scene.observation if scene.action == 0 else None


def _door(sheet: Canvas, middle: float, opened: bool) -> None:
    frame = canvas.mix(canvas.WOOD, canvas.INK, 0.35)
    sheet.box(middle - 72, 68, 144, _FLOOR - 68, frame, radius=6)
    sheet.box(middle - 62, 78, 124, _FLOOR - 78, canvas.WOOD, radius=3)
    if opened:  # seen edge-on, swung outwards; what was behind it is gone by now
        dark = canvas.mix(canvas.WOOD, canvas.WHITE, 0.35)
        sheet.shape(
            [
                (middle - 62, 78),
                (middle - 88, 94),
                (middle - 88, _FLOOR + 14),
                (middle - 62, _FLOOR),
            ],
            dark,
        )
    for top, height in ((90, 46), (226, 88)):
        panel = canvas.mix(canvas.WOOD, canvas.INK, 0.14)
        sheet.box(middle - 48, top, 96, height, panel, radius=4)
    sheet.disc(middle + 46, 208, 6, canvas.GOLD)


def _tiger_face(sheet: Canvas, x: float, y: float) -> None:
    for side in (-1, 1):
        sheet.disc(x + side * 30, y - 30, 15, _FUR, line=canvas.INK)
        sheet.disc(x + side * 30, y - 30, 7, canvas.SAND)
    sheet.disc(x, y, 44, _FUR, line=canvas.INK, squash=0.92)
    sheet.disc(x, y + 18, 24, canvas.WHITE, squash=0.75)
    for side in (-1, 1):
        sheet.disc(x + side * 16, y - 8, 7, canvas.WHITE)
        sheet.disc(x + side * 16, y - 7, 3.5, canvas.INK)
        for dy in (-4, 8):
            sheet.line([(x + side * 43, y + dy), (x + side * 30, y + dy + 2)], canvas.INK, 4)
        sheet.shape(
            [(x + side * 4, y + 27), (x + side * 12, y + 27), (x + side * 8, y + 36)], canvas.INK
        )
    for dx in (-9, 0, 9):
        sheet.line([(x + dx, y - 38), (x + dx * 0.7, y - 24)], canvas.INK, 4)
    sheet.shape([(x - 7, y + 8), (x + 7, y + 8), (x, y + 16)], canvas.INK)
    sheet.line([(x - 13, y + 26), (x, y + 20), (x + 13, y + 26)], canvas.INK, 2.5)


def _prize(sheet: Canvas, x: float, y: float) -> None:
    for dx, dy in ((-22, 18), (22, 18), (0, 18), (-11, 0), (11, 0), (0, -18)):
        sheet.disc(x + dx, y + dy, 15, canvas.GOLD, line=canvas.mix(canvas.GOLD, canvas.INK, 0.45))
        sheet.text(x + dx, y + dy, "$", 15, canvas.mix(canvas.GOLD, canvas.INK, 0.6), bold=True)


def _listener(sheet: Canvas, x: float, heard: int | None, *, listening: bool) -> None:
    sheet.shape([(x - 22, _FLOOR), (x + 22, _FLOOR), (x + 15, 268), (x - 15, 268)], canvas.TEAL)
    sheet.disc(x, 248, 21, _SKIN, line=canvas.INK)
    for side in (-1, 1):
        sheet.disc(x + side * 7, 246, 2.5, canvas.INK)
        sheet.disc(x + side * 21, 249, 5, _SKIN, line=canvas.INK, thick=1.5)
    sheet.line([(x - 5, 258), (x + 5, 258)], canvas.INK, 2)
    if heard is not None:
        side = -1 if heard == 0 else 1
        for radius in (10, 18, 26):
            middle = 180.0 if side < 0 else 0.0
            sheet.arc(x + side * 22, 249, radius, (middle - 40, middle + 40), canvas.ORANGE, 3.5)
        sheet.text(x, 205, "roar", 15, canvas.ORANGE, bold=True)
        sheet.text(x + side * 34, 205, "<" if side < 0 else ">", 17, canvas.ORANGE, bold=True)
    elif listening:
        sheet.text(x, 205, "...", 18, canvas.GREY, bold=True)


def _baby_text(scene: Scene) -> str:
    face = {None: "( . . )", 0: "( ^ ^ )", 1: "( > < )"}[scene.state]
    sound = {None: "", 0: "  (quiet)", 1: "  waah!"}[scene.observation]
    return f"{face}{sound}"


def _baby_picture(scene: Scene, sheet: Canvas) -> None:
    sheet.box(0, _FLOOR, WIDTH, 23, canvas.mix(canvas.TEAL, canvas.WHITE, 0.75))
    _cot(sheet)
    _baby(sheet, WIDTH / 2, 198, scene.state)
    crying = scene.observation == 1
    if scene.observation is not None:
        words, colour = ("waah!", canvas.ORANGE) if crying else ("quiet", canvas.GREY)
        sheet.box(332, 74, 110, 46, canvas.WHITE, line=colour, radius=16)
        sheet.shape([(344, 112), (362, 118), (318, 142)], canvas.WHITE)
        sheet.line([(345, 116), (318, 142), (363, 119)], colour, 2)
        sheet.text(387, 97, words, 18, colour, bold=crying)
    if scene.action == 0:
        _bottle(sheet, 84, 190)


def _cot(sheet: Canvas) -> None:
    sheet.box(100, 250, 280, 18, canvas.mix(canvas.WOOD, canvas.WHITE, 0.2), radius=5)
    sheet.box(116, 268, 248, 34, canvas.mix(canvas.TEAL, canvas.WHITE, 0.5))
    for i in range(9):
        sheet.box(122 + i * 29, 262, 8, 48, canvas.WOOD, radius=3)
    for x in (100, 364):
        sheet.box(x, 208, 16, _FLOOR - 204, canvas.WOOD, radius=5)
    sheet.box(100, 304, 280, 12, canvas.WOOD, radius=4)


def _baby(sheet: Canvas, x: float, y: float, state: int | None) -> None:
    """The face above the cot; without a state the blanket is drawn up over it."""
    for side in (-1, 1):
        sheet.disc(x + side * 54, y + 4, 11, _SKIN, line=canvas.INK)
    sheet.disc(x, y, 54, _SKIN, line=canvas.INK, squash=0.94)
    sheet.arc(x + 4, y - 53, 9, (100, 330), canvas.WOOD, 3)
    if state is None:
        sheet.text(x, y + 2, "?", 50, canvas.mix(_SKIN, canvas.WOOD, 0.6), bold=True)
        return
    for side in (-1, 1):
        sheet.disc(x + side * 32, y + 14, 9, canvas.mix(_SKIN, canvas.ORANGE, 0.35))
        if state == 0:
            sheet.arc(x + side * 20, y - 4, 9, (200, 340), canvas.INK, 3.5)
        else:
            ends = [(x + side * 28, y - 14), (x + side * 14, y - 7), (x + side * 28, y)]
            sheet.line(ends, canvas.INK, 3.5)
            drop = (x + side * 32, y + 10)
            sheet.disc(*drop, 5, (92, 160, 214))
            sheet.shape([(drop[0] - 4.6, drop[1] - 2), (drop[0] + 4.6, drop[1] - 2),
                         (drop[0], drop[1] - 12)], (92, 160, 214))  # fmt: skip
    if state == 0:
        sheet.arc(x, y + 12, 18, (25, 155), canvas.INK, 3.5)
    else:
        sheet.disc(x, y + 26, 14, canvas.INK, squash=0.95)
        sheet.disc(x, y + 33, 8, canvas.ORANGE, squash=0.6)


def _bottle(sheet: Canvas, x: float, y: float) -> None:
    sheet.box(x - 6, y - 66, 12, 16, canvas.mix(canvas.GOLD, canvas.WOOD, 0.4), radius=5)
    sheet.box(x - 16, y - 52, 32, 12, canvas.TEAL, radius=3)
    sheet.box(x - 22, y - 42, 44, 76, canvas.WHITE, line=canvas.INK, radius=9)
    sheet.box(x - 18, y - 8, 36, 38, canvas.mix(canvas.SAND, canvas.WHITE, 0.4), radius=6)
    for dy in (-26, -14, -2, 10):
        sheet.line([(x + 6, y + dy), (x + 17, y + dy)], canvas.GREY, 1.5)


TIGER = Drawing(_tiger_text, _tiger_picture)
BABY = Drawing(_baby_text, _baby_picture)
