"""Drawings of the problems whose states lie on a line: light-dark, the network's load, the shuttle."""

from __future__ import annotations

from dataclasses import dataclass

from imm_rl.envs import canvas
from imm_rl.envs.canvas import Canvas, Colour
from imm_rl.envs.render import WIDTH, Drawing, Scene, lookalikes

_LEFT, _WIDE = 30.0, WIDTH - 60.0
_LEVELS = 6


def light_dark(size: int, light: int, goal: int, radius: int) -> Drawing:
    """The drawing of a line with a light and a goal, each a cell and radius cells on each side."""
    line = _Line(size, light, goal, radius)
    return Drawing(line.text, line.picture)


@dataclass(frozen=True)
class _Line:
    size: int
    light: int
    goal: int
    radius: int

    def _agent(self, scene: Scene) -> int | None:
        return None if scene.state is None or scene.state >= self.size else scene.state

    def _reading(self, scene: Scene) -> int | None:
        return None if scene.observation in (None, self.size) else scene.observation

    def text(self, scene: Scene) -> str:
        """Goal G, light *, agent @; below, the cell that was read."""
        letters = []
        for cell in range(self.size):
            in_goal = abs(cell - self.goal) <= self.radius
            lit = abs(cell - self.light) <= self.radius
            letters.append("@" if cell == self._agent(scene) else "G" if in_goal else ".*"[lit])
        reading = self._reading(scene)
        below = "" if reading is None else " " * reading + "^"
        return "".join(letters) + "\n" + below

    def picture(self, scene: Scene, sheet: Canvas) -> None:
        """Cells as bright as the light makes them; the goal's flag; the reading as an arrow."""
        wide = _WIDE / self.size
        top, tall = 178.0, max(min(wide * 1.6, 60.0), 24.0)

        def middle(cell: int) -> float:
            return _LEFT + (cell + 0.5) * wide

        lamp = (middle(self.light), 104.0)
        near, far = (self.radius + 0.5) * wide, (self.radius + 0.5) * wide + 8
        beam = [(lamp[0] - 9, lamp[1]), (lamp[0] + 9, lamp[1])]
        beam += [(min(lamp[0] + far, _LEFT + _WIDE), top), (max(lamp[0] - far, _LEFT), top)]
        sheet.shape(beam, canvas.mix(canvas.GOLD, canvas.WHITE, 0.72))
        sheet.line([(lamp[0], 60), lamp], canvas.WALL, 3)
        sheet.disc(*lamp, 16, canvas.GOLD, line=canvas.mix(canvas.GOLD, canvas.INK, 0.4))
        sheet.text(lamp[0] + 26, 92, "light", 14, canvas.GREY, anchor="lm")
        for cell in range(self.size):
            colour = self._brightness(cell)
            gap = 2.0 if wide > 8 else 0.0
            sheet.box(_LEFT + cell * wide, top, wide - gap, tall, colour, radius=min(wide / 8, 4))
        x = middle(self.goal)
        first = max(_LEFT, x - near)
        width = min(_LEFT + _WIDE, x + near) - first
        green = canvas.TEAL
        sheet.box(first, top + tall + 5, width - 2, 7, green, radius=3)
        sheet.line([(x, top), (x, top - 44)], green, 3)
        sheet.shape([(x, top - 46), (x + 24, top - 37), (x, top - 28)], green)
        sheet.text(x, top - 58, "goal", 14, green, bold=True)
        reading = self._reading(scene)
        if reading is not None:
            x, y = middle(reading), top + tall + 18
            sheet.shape([(x, y), (x - 9, y + 16), (x + 9, y + 16)], canvas.RED)
            words = "reads exactly here" if self._lit(scene.state) else "reads about here"
            size = min(max(x, _LEFT + 64), _LEFT + _WIDE - 64)
            sheet.text(
                size, y + 30, words if scene.state is not None else "reading", 14, canvas.RED
            )
        agent = self._agent(scene)
        if agent is not None:
            radius = max(min(wide * 0.42, 15.0), 5.0)
            sheet.disc(middle(agent), top + tall / 2, radius, canvas.ORANGE, line=canvas.WHITE)

    def _lit(self, cell: int | None) -> bool:
        return cell is not None and abs(cell - self.light) <= self.radius

    def _brightness(self, cell: int) -> Colour:
        if self._lit(cell):
            return canvas.GOLD
        distance = abs(cell - self.light) - self.radius
        share = min(0.25 + 0.75 * distance / max(self.size / 2, 1), 1.0)
        return canvas.mix(canvas.SAND, canvas.INK, share)


def _network_text(scene: Scene) -> str:
    users = "" if scene.observation is None else f"   users: {('up', 'down')[scene.observation]}"
    if scene.state is None:
        return f"load   ? % [?????]{users}"
    if scene.state == _LEVELS:
        return f"load   crash      {users}"
    return f"load {20 * scene.state:3} % [{'#' * scene.state:<5}]{users}"


def _network_picture(scene: Scene, sheet: Canvas) -> None:
    x, low, step, wide = 90.0, 322.0, 38.0, 110.0
    crashed = scene.state == _LEVELS
    sheet.box(x - 8, low - step * 6 - 8, wide + 16, step * 6 + 16, canvas.WALL, radius=8)
    for level in range(_LEVELS):
        y = low - step * (level + 1)
        full = scene.state is not None and not crashed and level <= scene.state
        warm = canvas.mix(canvas.TEAL, canvas.ORANGE, level / (_LEVELS - 1))
        sheet.box(x, y + 2, wide, step - 4, warm if full else canvas.LIGHT, radius=4)
        sheet.text(x - 16, y + step / 2, f"{20 * level} %", 13, canvas.GREY, anchor="rm")
        if scene.state is None:
            sheet.text(x + wide / 2, y + step / 2, "?", 18, canvas.GREY, bold=True)
    if crashed:
        sheet.box(x - 4, 176, wide + 8, 44, canvas.RED, radius=6)
        sheet.text(x + wide / 2, 198, "CRASH", 22, canvas.WHITE, bold=True)
    sheet.text(340, 112, "load let in", 13, canvas.GREY)
    doing = "nothing yet" if scene.action is None else scene.model.action_names[scene.action]
    sheet.text(340, 138, doing, 20, bold=True)
    sheet.text(340, 208, "users say", 13, canvas.GREY)
    words, colour = {None: ("...", canvas.GREY), 0: ("up", canvas.TEAL), 1: ("down", canvas.RED)}[
        scene.observation
    ]
    sheet.box(282, 224, 116, 52, canvas.WHITE, line=colour, radius=16)
    sheet.text(340, 250, words, 22, colour, bold=True)


_SHIPS = ((0, 1), (3, 1), (2, 1), (1, 1), (3, -1), (2, -1), (1, -1), (4, -1))
"""Place from LRV to MRV, and the way it faces, of each state of the shuttle."""


def _shuttle_text(scene: Scene) -> str:
    marks = list("  .  ")
    for state, possible in enumerate(lookalikes(scene.model, scene.observation)):
        place, way = _SHIPS[state]
        if state == scene.state:
            marks[place] = ">" if way > 0 else "<"
        elif scene.state is None and possible:
            marks[place] = "?"
    return f"LRV [{marks[0]}] {marks[1]} {marks[2]} {marks[3]} [{marks[4]}] MRV"


def _shuttle_picture(scene: Scene, sheet: Canvas) -> None:
    night = canvas.mix(canvas.INK, canvas.WALL, 0.25)
    sheet.box(20, 66, WIDTH - 40, 270, night, radius=12)
    for i in range(28):  # stars, always the same
        star = (34.0 + (i * 157) % 412, 78.0 + (i * 89) % 246)
        sheet.disc(*star, 1.0 + (i % 3) * 0.5, canvas.mix(night, canvas.WHITE, 0.55))
    middle = 212.0
    for x, name in ((72.0, "LRV"), (WIDTH - 72.0, "MRV")):
        sheet.box(x - 40, middle - 62, 80, 124, canvas.GREY, radius=14)
        sheet.box(x - 31, middle - 34, 62, 68, canvas.mix(night, canvas.GREY, 0.25), radius=8)
        sheet.text(x, middle - 82, name, 17, canvas.WHITE, bold=True)
    sheet.text(72, middle + 82, "least recent", 12, canvas.LIGHT)
    sheet.text(WIDTH - 72, middle + 82, "most recent", 12, canvas.LIGHT)
    columns = (72.0, 154.0, 240.0, 326.0, WIDTH - 72.0)
    if scene.state is not None:
        place, way = _SHIPS[scene.state]
        _ship(sheet, columns[place], middle, way)
        return
    alike = lookalikes(scene.model, scene.observation)
    for place in {_SHIPS[s][0] for s in range(len(_SHIPS)) if alike[s]}:
        sheet.text(columns[place], middle, "?", 40, canvas.GOLD, bold=True)


def _ship(sheet: Canvas, x: float, y: float, way: int) -> None:
    """A ship with its nose to the right where way is 1, to the left where it is −1."""
    flame = [(x - way * 20, y - 7), (x - way * 34, y), (x - way * 20, y + 7)]
    sheet.shape(flame, canvas.GOLD)
    hull = [(x - way * 20, y - 15), (x + way * 6, y - 13), (x + way * 28, y)]
    sheet.shape([*hull, (x + way * 6, y + 13), (x - way * 20, y + 15)], canvas.ORANGE)
    sheet.disc(x + way * 5, y, 5.5, canvas.WHITE)


NETWORK = Drawing(_network_text, _network_picture)
SHUTTLE = Drawing(_shuttle_text, _shuttle_picture)
