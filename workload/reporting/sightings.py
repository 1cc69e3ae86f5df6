"""Reads each video's answer, the faces and frame that it comes from, and its other frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from pipeline.answers import NO_FACE
from pipeline.aws import Aws
from pipeline.keys import details_key, frame_key, output_key, stem
from pipeline.settings import Deployment, Function
from workload.reporting.faces import Face, Person, number, spoken
from workload.reporting.invocations import Invocation
from workload.reporting.moments import (
    Moment,
    faces_in_details,
    faces_in_log,
    frame_number,
)
from workload.reporting.pictures import Picture, Share, fit
from workload.reporting.recognized import recognized
from workload.reporting.verdict import Verdict, agreed_verdict, face_verdict
from workload.running.buckets import objects
from workload.running.outputs import Output, Stored, read_object, read_output
from workload.running.run import VideoRun, WorkloadRun
from workload.running.score import Outcome

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

READERS = 16  # requests at the same time


@dataclass(frozen=True)
class Sighting:
    """One video's card. `faces` are those in the frame that is shown: the answer's.

    `answering`: the face that the answer comes from. `people`: everybody found, if several frames
    were looked at. `time`: when the answer's frame is shown, in seconds from the video's start.
    `moments`: all frames that were looked at, if there are several.
    """

    video: VideoRun
    verdict: Verdict
    answer: str = ""
    faces: tuple[Face, ...] = ()
    answering: Face | None = None
    nearest: str = ""
    threshold: float | None = None
    model: str = ""
    gallery: str = ""
    picture: Picture | None = None
    frames: int = 1
    votes: int | None = None
    people: tuple[Person, ...] = ()
    time: float | None = None
    note: str = ""
    moments: tuple[Moment, ...] = ()

    @property
    def distance(self) -> float | None:
        """The distance of the face that the answer comes from."""
        return self.answering.distance if self.answering else None

    @property
    def said(self) -> str:
        """The answer as people read it; empty if there is none."""
        return spoken(self.answer, self.nearest, self.distance)

    @property
    def nearest_person(self) -> str:
        """The person nearest to the answer's face, known or not; empty if there is none."""
        face = self.answering
        return self.nearest or (face.nearest or face.name if face and face.is_known else "")

    @property
    def outcome(self) -> Outcome:
        """Whether the answer is right; it is the run's, or what the output says now."""
        if self.video.answer is None and self.verdict is not Verdict.MISSING:
            return replace(self.video, answer=self.answer).outcome
        return self.video.outcome


@dataclass(frozen=True)
class _Found:
    """A card without pictures, its answer's frame's ETag, and the ETags of its kept frames."""

    card: Sighting
    etag: str | None = None
    kept: Mapping[str, str] = field(default_factory=dict)


def look_at(
    aws: Aws,
    deployment: Deployment,
    run: WorkloadRun,
    of_video: Mapping[str, Sequence[tuple[Function, Invocation]]] | None = None,
) -> list[Sighting]:
    """A card for each of the run's videos, in order: wrong ones first, then missing ones.

    `of_video`: the invocations about each video, whose log lines have the faces of every frame.
    Raises AwsError if S3 denies access.
    """
    s3 = aws.client("s3")
    with ThreadPoolExecutor(max_workers=READERS) as pool:
        found = list(pool.map(partial(_look, s3, deployment, of_video or {}), run.videos))
        answered = [one for one in found if one.card.verdict is not Verdict.MISSING]
        others = sum(max(len(one.kept) - 1, 0) for one in answered)
        share = Share.of(len(answered), others)
        cards = list(pool.map(partial(_with_pictures, s3, deployment, share), found))
    return sorted(cards, key=lambda card: card.outcome.rank)


def _look(
    s3: S3Client,
    deployment: Deployment,
    of_video: Mapping[str, Sequence[tuple[Function, Invocation]]],
    video: VideoRun,
) -> _Found:
    output = None
    if video.answered is not None:  # otherwise the output may be from an earlier run
        output = read_output(s3, deployment.output_bucket, output_key(video.key))
    if output is None:
        gone = "The answer arrived but has since been deleted."
        note = video.failure or (gone if video.answered else "No answer by the end of the run.")
        return _Found(Sighting(video, Verdict.MISSING, note=note))
    card = of_output(video, output)
    etag = output.metadata.get("frame-etag")
    if card.frames == 1:
        return _Found(card, etag)
    bucket, prefix = deployment.stage_1_bucket, f"{stem(video.key)}/output-"
    listed = {item["Key"]: item["ETag"].strip('"') for item in objects(s3, bucket, prefix)}
    numbers = {key: frame_number(key, "", video.key) for key in listed}
    kept = {key: listed[key] for key, index in numbers.items() if index is not None}
    details = []
    if "json" in output.metadata.get("answers", ""):
        named = read_object(s3, deployment.output_bucket, details_key(video.key))
        details = faces_in_details(named.body, card.threshold) if named else []
    if details:
        moments = [Moment(index, faces, time) for index, (time, faces) in enumerate(details)]
    else:
        calls = [invocation for _, invocation in of_video.get(video.key, ())]
        logged = faces_in_log(calls, bucket, video.key, card.threshold)
        indexes = {index for index in numbers.values() if index is not None}
        moments = [Moment(index, logged.get(index, ())) for index in sorted(indexes | set(logged))]
    return _Found(replace(card, moments=tuple(moments)), etag, kept)


def of_output(video: VideoRun, output: Output) -> Sighting:
    """The card for an output, without its picture. Invalid metadata is ignored."""
    found, metadata = recognized(output), output.metadata
    has_votes = number(metadata, "frames") is not None
    votes = int(number(metadata, "votes") or 0) if has_votes else None
    if found.answer == NO_FACE:
        verdict = Verdict.NO_FACE
    elif votes is None:
        verdict = found.face.verdict if found.face else face_verdict(found.answer, None, None)
    else:
        verdict = agreed_verdict(found.answer, votes, found.frames, found.distance, found.threshold)
    return Sighting(
        video,
        verdict,
        answer=found.answer,
        faces=found.faces,
        answering=found.face,
        nearest=found.nearest,
        threshold=found.threshold,
        model=metadata.get("model", ""),
        gallery=metadata.get("gallery", ""),
        frames=found.frames,
        votes=votes,
        people=found.people,
    )


def _with_pictures(s3: S3Client, deployment: Deployment, share: Share, found: _Found) -> Sighting:
    """The card with its frames; its answer's is the one whose ETag the text names."""
    card, bucket = found.card, deployment.stage_1_bucket
    if card.verdict is Verdict.MISSING:
        return card
    alone = frame_key(card.video.key)
    own = next((key for key, etag in found.kept.items() if etag == found.etag), alone)
    moments = {moment.index: moment for moment in card.moments}
    for key in found.kept if share.other else ():
        index = frame_number(key, "", card.video.key)
        frame = None if key == own else read_object(s3, bucket, key)
        if frame is not None and index in moments:
            moments[index] = _shown(moments[index], frame, fit(frame.body, share.other))
    frame = read_object(s3, bucket, own)
    if frame is None:
        note = "The frame is no longer in the stage-1 bucket."
    elif found.etag not in (None, frame.etag):
        note = "The frame has since been replaced."
    else:
        picture, time = fit(frame.body, share.main), number(frame.metadata, "frame-time")
        note = "" if picture else "The frame is not an image."
        card = replace(card, picture=picture, time=time)
        index = frame_number(own, "", card.video.key)
        if own == alone:  # it may be any of those looked at
            index = int(number(frame.metadata, "frame-index") or 0)
        if index in moments:
            moments[index] = replace(_shown(moments[index], frame, picture), is_answer=True)
    return replace(card, note=note, moments=tuple(moments.values()))


def _shown(moment: Moment, frame: Stored, picture: Picture | None) -> Moment:
    time = number(frame.metadata, "frame-time")
    return replace(moment, time=moment.time if time is None else time, picture=picture)
