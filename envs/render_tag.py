"""The drawing of tag: the map, the robot (square) and the target (round).

The restricted view shows what the last observation tells: the robot's cell, or, where it saw the target
in its own cell, no cell at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from imm_rl.envs import canvas
from imm_rl.envs.canvas import Canvas
from imm_rl.envs.render import BOTTOM, TOP, WIDTH, Drawing, Scene

_RIM = 12.0
_CATCH = 4


def drawing(cells: list[tuple[int, int]]) -> Drawing:
    """The drawing of a map with these cells (row, column)."""
    plan = _Map(tuple(cells))
    return Drawing(plan.text, plan.picture)


@dataclass(frozen=True)
class _Map:
    cells: tuple[tuple[int, int], ...]

    def _places(self, scene: Scene) -> tuple[int | None, int | None]:
        """The cells of robot and target, None where hidden; the target is C where it is tagged."""
        n_cells = len(self.cells)
        if scene.state is not None:
            return divmod(scene.state, n_cells + 1)
        seen = scene.observation
        return (None if seen is None or seen == n_cells else seen), None

    def text(self, scene: Scene) -> str:
        """Robot @, target T, both &, an unknown cell ?."""
        robot, target = self._places(scene)
        lines, across = zip(*self.cells, strict=True)
        rows = [[" "] * (max(across) - min(across) + 1) for _ in range(max(lines) + 1 - min(lines))]
        for cell, (row, column) in enumerate(self.cells):
            letter = "?" if robot is None else "."
            if cell == target:
                letter = "T"
            if cell == robot:
                letter = "&" if cell == target else "@"
            rows[row - min(lines)][column - min(across)] = letter
        end = "\ntagged" if target == len(self.cells) else ""
        return "\n".join("".join(row).rstrip() for row in rows) + end

    def picture(self, scene: Scene, sheet: Canvas) -> None:
        """The map, the robot and the target."""
        robot, target = self._places(scene)
        lines, across = zip(*self.cells, strict=True)
        rows, columns = max(lines) - min(lines) + 1, max(across) - min(across) + 1
        side = min((WIDTH - 40 - 2 * _RIM) / columns, (BOTTOM - TOP - 8 - 2 * _RIM) / rows)
        left = (WIDTH - side * columns) / 2 - side * min(across)
        top = (TOP + BOTTOM - side * rows) / 2 - side * min(lines)
        for row, column in self.cells:
            x, y = left + column * side - _RIM, top + row * side - _RIM
            sheet.box(x, y, side + 2 * _RIM, side + 2 * _RIM, canvas.WALL, radius=8)
        hidden = canvas.mix(canvas.WHITE, canvas.TEAL, 0.55)
        for row, column in self.cells:
            x, y = left + column * side, top + row * side
            sheet.box(x, y, side, side, canvas.LIGHT)
            fill = hidden if robot is None else canvas.WHITE
            sheet.box(x + 1, y + 1, side - 2, side - 2, fill)
            if robot is None:
                sheet.text(x + side / 2, y + side / 2, "?", side * 0.4, canvas.WHITE, bold=True)
        self._figures(scene, sheet, (left, top, side), (robot, target))

    def _figures(
        self,
        scene: Scene,
        sheet: Canvas,
        where: tuple[float, float, float],
        places: tuple[int | None, int | None],
    ) -> None:
        left, top, side = where
        robot, target = places

        def middle(cell: int) -> tuple[float, float]:
            row, column = self.cells[cell]
            return left + (column + 0.5) * side, top + (row + 0.5) * side

        together = robot is not None and robot == target
        shift = side * 0.2 if together else 0.0
        if target is not None and target < len(self.cells):
            x, y = middle(target)
            _target(sheet, x + shift, y, side * (0.2 if together else 0.3))
        if robot is not None:
            x, y = middle(robot)
            _robot(sheet, x - shift, y, side * (0.2 if together else 0.3))
        words = self._words(scene, target)
        if words:
            sheet.text(30, TOP + 26, words, 17, canvas.ORANGE, anchor="lm", bold=True)

    def _words(self, scene: Scene, target: int | None) -> str:
        if target == len(self.cells):
            return "tagged"
        if scene.observation == len(self.cells):
            return "target is here"
        return "no catch" if scene.action == _CATCH and scene.state is not None else ""


def _robot(sheet: Canvas, x: float, y: float, half: float) -> None:
    sheet.line([(x, y - half), (x, y - half * 1.3)], canvas.INK, 2)
    sheet.box(x - half, y - half, 2 * half, 2 * half, canvas.ORANGE, radius=half * 0.3)
    for dx in (-0.42, 0.42):
        sheet.disc(x + half * dx, y - half * 0.15, half * 0.24, canvas.WHITE)
        sheet.disc(x + half * dx, y - half * 0.15, half * 0.11, canvas.INK)
    sheet.line(
        [(x - half * 0.45, y + half * 0.5), (x + half * 0.45, y + half * 0.5)], canvas.INK, 2
    )


def _target(sheet: Canvas, x: float, y: float, radius: float) -> None:
    sheet.disc(x, y, radius, canvas.TEAL)
    for dx in (-0.38, 0.38):
        sheet.disc(x + radius * dx, y - radius * 0.15, radius * 0.25, canvas.WHITE)
        sheet.disc(x + radius * dx, y - radius * 0.15, radius * 0.12, canvas.INK)
    sheet.disc(x, y + radius * 0.45, radius * 0.18, canvas.INK)
