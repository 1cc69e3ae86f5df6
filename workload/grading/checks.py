"""Checks of the buckets' contents; each failure names the objects at fault. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.cli import counted
from pipeline.keys import frame_key, output_key, stem
from pipeline.settings import VIDEO_SUFFIXES
from workload.running.expected import is_expected
from workload.running.score import Score

PASS, FAIL, SKIP = "PASS", "FAIL", "SKIP"


@dataclass(frozen=True)
class Check:
    """The result of one check. `objects` are those at fault. A skipped check does not count.

    `partly`: the points that it gives although it failed.
    """

    name: str
    status: str
    points: int
    reason: str = ""
    objects: tuple[str, ...] = ()
    partly: int = 0

    @property
    def earned(self) -> int:
        """The points awarded: all, or `partly` if the check failed."""
        return self.points if self.status == PASS else self.partly

    def as_json(self) -> dict[str, Any]:
        """The check as a dictionary, for --json."""
        fields = {**asdict(self), "objects": list(self.objects), "earned": self.earned}
        del fields["partly"]
        return fields


def verdict(
    name: str, points: int, faults: Iterable[str], fault: str, right: str, hint: str = ""
) -> Check:
    """A check that passes, with the reason `right`, if there are no `faults`.

    Each of `faults` is an object, optionally followed by ": " and what is wrong with it. `fault`
    describes all of them, as in "3 missing".
    """
    found = tuple(faults)
    if not found:
        return Check(name, PASS, points, right)
    text = f"{len(found)} {fault}" + (f" ({hint})" if hint else "")
    return Check(name, FAIL, points, text, found)


@dataclass(frozen=True)
class Item:
    """An object's LastModified, in seconds since the epoch, and its ETag."""

    modified: float
    etag: str = ""


@dataclass(frozen=True)
class Holdings:
    """The objects in the three buckets, by key. `stale` outputs are of an earlier upload."""

    buckets: tuple[str, str, str]
    inputs: Mapping[str, Item]
    frames: Mapping[str, Item]
    outputs: Mapping[str, Item]
    stale: frozenset[str] = frozenset()

    @property
    def videos(self) -> list[str]:
        """The keys in the input bucket that the splitter takes for videos, in any case."""
        return sorted(key for key in self.inputs if key.lower().endswith(VIDEO_SUFFIXES))


def frames_of(video: str, held: Mapping[str, Item], count: int) -> tuple[list[str], list[str]]:
    """The existing and the missing frames of `video` when the splitter takes `count` per video.

    A short video may have fewer than `count` frames, but they start at 0 and have no gaps.
    """
    if count == 1:
        key = frame_key(video)
        return ([key], []) if key in held else ([], [key])
    keys = [f"{stem(video)}/output-{index:02d}.jpg" for index in range(count)]
    there = [key for key in keys if key in held]
    last = max((index for index, key in enumerate(keys) if key in held), default=0)
    return there, [key for key in keys[: last + 1] if key not in held]


def details_key(video: str) -> str:
    """The key of the JSON object that `ANSWERS=txt+json` puts beside the text."""
    return f"{stem(video)}.json"


def object_checks(
    held: Holdings, frame_count: int, reasons: Mapping[str, str], with_json: bool = False
) -> list[Check]:
    """Checks that every video has its frames and its text, and that there are no other objects.

    `reasons`: why videos failed, where known. `with_json`: each text has a JSON object beside it.
    """
    input_bucket, stage_1, output = (f"s3://{bucket}/" for bucket in held.buckets)
    missing_frames, missing_outputs = [], []
    right_frames, right_outputs = set(), set()
    for video in held.videos:
        there, lacking = frames_of(video, held.frames, frame_count)
        right_frames.update(there)
        missing_frames += [f"{stage_1}{key}: for {video}" for key in lacking]
        wanted = [output_key(video), *([details_key(video)] if with_json else [])]
        right_outputs.update(wanted)
        why = f": {reasons[video]}" if video in reasons else ""
        for key in wanted:
            if key not in held.outputs:
                missing_outputs.append(f"{output}{key}: for {video}{why}")
            elif output_key(video) in held.stale:
                missing_outputs.append(f"{output}{key}: belongs to an earlier upload of {video}")
    others = [key for key in held.inputs if key not in held.videos and not key.endswith("/")]
    count = len(held.videos)
    answered = len(set(held.outputs) & right_outputs)
    frames_right = f"{counted(len(right_frames), 'frame')} of {counted(count, 'video')}"
    return [
        verdict(
            f"{held.buckets[0]} holds videos and nothing else",
            5,
            [input_bucket] if not count else [f"{input_bucket}{key}" for key in sorted(others)],
            "not a video" if count else "without a video",
            counted(count, "video"),
        ),
        verdict(
            "every video has its frame",
            10,
            missing_frames,
            "missing",
            frames_right,
            "the bucket expires frames after some days",
        ),
        verdict(
            "there is no extra frame",
            5,
            [f"{stage_1}{key}" for key in sorted(set(held.frames) - right_frames)],
            "not of any video",
            "none",
        ),
        verdict(
            "every video has its output",
            20,
            missing_outputs,
            "missing",
            f"{counted(answered, 'output')} of {counted(count, 'video')}",
        ),
        verdict(
            "there is no extra output",
            5,
            [f"{output}{key}" for key in sorted(set(held.outputs) - right_outputs)],
            "not of any video",
            "none",
        ),
    ]


def name_check(
    held: Holdings, expected: Mapping[str, str] | None, answers: Mapping[str, str]
) -> Check:
    """Checks the answers, by video, against the expected names. A missing answer is not wrong.

    Each wrong name costs a point, until none is left.
    """
    name, points = "the names are right", 20
    if expected is None:
        return Check(
            name, SKIP, points, "pass --expected expected.csv, or --run of a run that had one"
        )
    bucket = held.buckets[2]
    wrong = tuple(
        f"s3://{bucket}/{output_key(video)}: {answers[video]!r}, expected {expected[video]!r}"
        for video in sorted(answers)
        if not is_expected(answers[video], expected[video])
    )
    if not answers:
        return Check(name, FAIL, points, "there is no output to compare")
    score = Score(len(answers) - len(wrong), len(wrong), len(expected) - len(answers))
    unnamed = len([video for video in held.videos if video not in expected])
    reason = str(score) + (f", {unnamed} without an expected name" if unnamed else "")
    status = FAIL if wrong else PASS
    return Check(name, status, points, reason, wrong, max(0, points - len(wrong)))


def time_check(seconds: Mapping[str, float], limit: float, source: str, untimed: str) -> Check:
    """Checks that every video was answered within `limit` seconds. `seconds` is by video.

    `untimed`: why the existing answers have no known time; empty if there are no answers.
    """
    name, points = f"every answer came within {limit:g} s", 4
    if not seconds and untimed:
        return Check(name, SKIP, points, untimed)
    if not seconds:
        return Check(name, FAIL, points, "there is no answer")
    average, longest = sum(seconds.values()) / len(seconds), max(seconds.values())
    figures = f"average {average:.1f} s, longest {longest:.1f} s, {source}"
    late = [f"{key}: {value:.1f} s" for key, value in sorted(seconds.items()) if value > limit]
    return verdict(name, points, late, "too late", figures, figures)
