"""Who is enrolled from which photo, and what the sample videos show."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.answers import NO_FACE, UNKNOWN


@dataclass(frozen=True)
class Pane:
    """A part of a photo, `crop` (x, y, width, height in pixels), shown at `size` in the video."""

    photo: str
    crop: tuple[int, int, int, int]
    size: tuple[int, int]


@dataclass(frozen=True)
class Shot:
    """Panes side by side for some seconds. Without any, a still with `title`, or black."""

    panes: tuple[Pane, ...]
    seconds: float
    title: str = ""


@dataclass(frozen=True)
class Clip:
    """One sample video: its shots in turn. `is_damaged`: its first key frame decodes to a smear."""

    shots: tuple[Shot, ...]
    expected: str
    suffix: str = ".mp4"
    is_damaged: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the video in pixels."""
        panes = next(shot.panes for shot in self.shots if shot.panes)
        return sum(pane.size[0] for pane in panes), panes[0].size[1]

    @property
    def seconds(self) -> float:
        """Length of the video."""
        return sum(shot.seconds for shot in self.shots)

    @property
    def photos(self) -> tuple[str, ...]:
        """The photos that it shows."""
        return tuple(pane.photo for shot in self.shots for pane in shot.panes)


def panned(
    photo: str,
    crop: tuple[int, int, int, int],
    size: tuple[int, int],
    seconds: float,
    expected: str,
) -> Clip:
    """A clip of one photo."""
    return Clip((Shot((Pane(photo, crop, size),), seconds),), expected)


# Each person is enrolled from one photo. The clips show other photos if the packages have any.
PEOPLE = {"Barack Obama": "obama.jpg", "Joe Biden": "biden.jpg", "Eileen Collins": "astronaut.png"}

# Beside each other they fill 640 x 480.
STRANGER_PANE = Pane("t1.jpg", (444, 230, 160, 240), (320, 480))
BIDEN_PANE = Pane("biden.jpg", (280, 60, 600, 900), (320, 480))
OBAMA_PANE = Pane("obama2.jpg", (175, 105, 400, 600), (320, 480))

OBAMA = Pane("obama2.jpg", (0, 130, 626, 470), (640, 480))
BIDEN = Pane("biden.jpg", (0, 60, 970, 728), (640, 480))
COLLINS = Pane("astronaut.png", (0, 0, 512, 384), (640, 480))

CLIPS = (
    panned("obama2.jpg", (0, 100, 626, 834), (480, 640), 2.0, "Barack Obama"),
    panned("obama3.jpg", (300, 100, 1132, 849), (1280, 960), 3.0, "Barack Obama"),
    panned("biden.jpg", (0, 60, 970, 728), (640, 480), 2.0, "Joe Biden"),
    panned("astronaut.png", (0, 0, 512, 384), (640, 480), 2.5, "Eileen Collins"),
    panned("t1.jpg", (0, 245, 240, 180), (640, 480), 2.0, UNKNOWN),
    panned("t1.jpg", (202, 120, 240, 180), (640, 480), 2.0, UNKNOWN),
    panned("t1.jpg", (397, 243, 240, 180), (640, 480), 2.0, UNKNOWN),
    panned("t1.jpg", (672, 320, 240, 180), (640, 480), 2.0, UNKNOWN),
    panned("t1.jpg", (840, 41, 240, 180), (640, 480), 2.0, UNKNOWN),
    panned("t1.jpg", (1040, 246, 240, 180), (640, 480), 2.0, UNKNOWN),
    panned("coffee.png", (0, 0, 533, 400), (640, 480), 2.0, NO_FACE),
    # The stranger's face is the larger one.
    Clip((Shot((STRANGER_PANE, BIDEN_PANE), 2.0),), "Joe Biden"),
    Clip((Shot((BIDEN_PANE, OBAMA_PANE), 2.0),), "Barack Obama"),
    Clip((Shot((OBAMA,), 1.0), Shot((BIDEN,), 1.0)), "Barack Obama"),
    Clip((Shot((), 0.52), Shot((OBAMA,), 1.48)), "Barack Obama"),
    Clip((Shot((), 2.0, "Eileen Collins"), Shot((COLLINS,), 2.0)), "Eileen Collins"),
    Clip((Shot((OBAMA,), 2.0),), "Barack Obama", is_damaged=True),
    Clip((Shot((BIDEN,), 2.0),), "Joe Biden", suffix=".Mp4"),
)


def named_clips() -> dict[str, Clip]:
    """The clips by file name: test_00.mp4 and so on."""
    return {f"test_{index:02d}{clip.suffix}": clip for index, clip in enumerate(CLIPS)}
