"""`imm-rl watch --out`: films (GIF by Pillow, MP4 by ffmpeg) and sheets of stills."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from imm_rl.errors import InvalidInputError, RunFailedError, invalid
from imm_rl.files import write_atomically

if TYPE_CHECKING:
    from imm_rl.agents.watching import Moment
    from imm_rl.cli.watch_policies import Watched
    from imm_rl.envs.canvas import RGB

FILMS, STILL, MAPS = (".gif", ".mp4", ".png"), ".png", (".png", ".svg", ".pdf")

MOST_GIF_FPS = 50.0
"""Viewers show a GIF's frames of less than 1/50 s slowly."""

MOST_GIF_FRAMES = 1000
"""They are held in memory until all are there, half a megabyte each."""

STILLS = 6
"""Frames of a sheet, in two columns."""

LAST_SECONDS = 1.5
"""How long a GIF stays at the end of an episode."""


def checked_out(text: str, fps: float | None, *, is_map: bool) -> Path:
    """A file to write, refused before anything is played where it cannot be written.

    Raises:
        InvalidInputError: Another kind of file, no such folder, too many frames a second, or no ffmpeg.
    """
    from imm_rl.cli.solve import checked_file

    path = checked_file("--out", text, MAPS if is_map else FILMS, "a picture")
    if not is_map and path.suffix.lower() == ".gif" and fps is not None and fps > MOST_GIF_FPS:
        remedy = "Write an .mp4"
        raise invalid("--fps", f"be at most {MOST_GIF_FPS:g} in a .gif", fps, remedy)
    if not is_map and path.suffix.lower() == ".mp4":
        _ffmpeg()
    return path


def write(
    path: Path, watched: Watched, moments: Iterator[Moment], episodes: int, fps: float
) -> str:
    """Writes a film or a sheet, whole or not at all; returns what it wrote, in words."""
    from imm_rl.cli.watch_pictures import frame

    played = ((moment, frame(watched, moment, episodes)) for moment in moments)
    suffix = path.suffix.lower()
    if suffix == STILL:
        return _sheet(path, played)
    if suffix == ".gif":
        return _gif(path, played, min(fps, MOST_GIF_FPS))
    return _mp4(path, played, fps)


def _gif(path: Path, played: Iterator[tuple[Moment, RGB]], fps: float) -> str:
    from PIL import Image

    images: list[Image.Image] = []
    durations: list[int] = []
    for moment, pixels in played:
        if len(images) == MOST_GIF_FRAMES:
            raise InvalidInputError(
                f"a .gif holds at most {MOST_GIF_FRAMES:,} frames here, and these are more. Give "
                "--steps or fewer --episodes, or write an .mp4."
            )
        # Flat colours: without dithering they stay flat, and the file small.
        image = Image.fromarray(pixels)
        images.append(image.quantize(128, dither=Image.Dither.NONE))
        durations.append(round(1000 * (max(LAST_SECONDS, 1 / fps) if moment.ended else 1 / fps)))

    def save(file: IO[bytes]) -> None:
        rest = images[1:]
        options: dict[str, Any] = {"loop": 0, "optimize": True}
        images[0].save(
            file, "GIF", save_all=True, append_images=rest, duration=durations, **options
        )

    write_atomically(path, save)
    return f"{len(images)} frames"


def _mp4(path: Path, played: Iterator[tuple[Moment, RGB]], fps: float) -> str:
    ffmpeg = _ffmpeg()
    count = 0
    # ffmpeg goes back in its file, and so needs one of its own.
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        writer: Any = None
        try:
            for _, pixels in played:
                if writer is None:
                    height, width = pixels.shape[:2]
                    writer = ffmpeg.write_frames(
                        str(film),
                        (width, height),
                        fps=fps,
                        quality=8,
                        macro_block_size=2,
                        ffmpeg_log_level="error",
                    )
                    writer.send(None)
                writer.send(pixels.tobytes())
                count += 1
        except OSError as error:
            raise RunFailedError(f"{path} could not be written: {error}") from error
        finally:
            if writer is not None:
                writer.close()
        content = film.read_bytes()
    write_atomically(path, lambda file: file.write(content))
    return f"{count} frames"


def _ffmpeg() -> Any:
    try:
        return importlib.import_module("imageio_ffmpeg")
    except ImportError:
        raise InvalidInputError(
            'an .mp4 needs imageio-ffmpeg, which is not installed: pip install "imm-rl[video]". Or write '
            "a .gif."
        ) from None


def _sheet(path: Path, played: Iterator[tuple[Moment, RGB]]) -> str:
    """Up to `STILLS` frames, evenly spread from the first to the last."""
    import numpy as np
    from PIL import Image

    # Halved as they come, every second one dropped when they are too many: few are held at a time.
    kept: list[tuple[int, RGB]] = []
    stride, count, last = 1, 0, None
    for count, (_, pixels) in enumerate(played):
        last = (count, pixels)
        if count % stride == 0:
            kept.append(last)
        if len(kept) > 8 * STILLS:
            kept, stride = kept[::2], 2 * stride
    if last is not None and kept[-1][0] != last[0]:
        kept.append(last)
    wanted = np.linspace(0, count, min(STILLS, count + 1))
    at = np.array([number for number, _ in kept])
    chosen = sorted({int(np.abs(at - target).argmin()) for target in wanted})
    frames = [kept[i][1] for i in chosen]
    height, width = frames[0].shape[:2]
    columns = min(2, len(frames))
    rows = -(-len(frames) // columns)
    gap = 12
    size = (columns * (width + gap) - gap, rows * (height + gap) - gap)
    sheet = Image.new("RGB", size, (255, 255, 255))
    for i, pixels in enumerate(frames):
        row, column = divmod(i, columns)
        sheet.paste(Image.fromarray(pixels), (column * (width + gap), row * (height + gap)))
    write_atomically(path, lambda file: sheet.save(file, "PNG", optimize=True))
    return f"{len(frames)} of {count + 1} steps"
