"""Split one video: take its frames, have their faces recognized, and write what they agree on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ffmpeg
import keys
import store
import video_answer
from agreement import UNKNOWN, Agreement, Look, agree
from camera import Camera
from frames import Footage, Frame
from recognizer import READ_MARGIN_S, SETTINGS, Answer, Recognizer, Result
from step_log import logged
from store import Plan, Source, Stored

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Time reserved for uploads, the answer and the response when ffmpeg's share is computed.
MARGIN_S = 5.0


@dataclass(frozen=True)
class Splitter:
    """Splits videos with one deployment's settings.

    `ffmpeg_s` is the time that all runs of ffmpeg on a video share. `remaining_s` says how much
    time this invocation has left.
    """

    s3: S3Client
    recognizer: Recognizer
    stage: str
    output: str
    plan: Plan
    answers: str
    ffmpeg_s: float
    ca_file: str
    remaining_s: Callable[[], float]

    def split(self, named: Source) -> dict[str, Any]:
        """Answer one video; return what its log line says."""
        keys.check(named.key)
        key = self.plan.key(named.key, 0)
        source, head = store.inspect_both(self.s3, named, self.stage, key)
        look = self._look_once_or_twice if self.plan.keeps_one else self._look_at_several
        notes = look(source, head)
        # Must come last: if the video is overwritten later, the new event starts after all this.
        store.check_not_overwritten(self.s3, source)
        return {**notes, "output_key": keys.text_key(source.key)}

    def _look_at_several(self, source: Source, head: store.Head) -> dict[str, Any]:
        """Answer from N frames, which stay in stage-1; `head` describes the first one there."""
        with logged("frames", source) as notes:
            kept = store.kept_frames(self.s3, self.stage, source, self.plan, head)
            notes.update(frames=len(kept), reused=bool(kept))
            if not kept:
                with self._footage(source) as footage:
                    kept = self._put(source, self._spread(source, footage))
                notes.update(frames=len(kept), **_cut(footage))
        self._tidy(source, len(kept))
        with logged("invoke", source) as notes:
            notes.update(look=1, frames=len(kept))
            text = self._metadata_of_text(source)
            settings = self._settings_of_answer(source, kept, text)
            answer = self._recognize(kept, settings)
            notes.update(_slot(answer))
        if not answer.unchanged:
            store.check_frames_match(source, answer.results)
            looks = [_look(one, result) for one, result in zip(kept, answer.results, strict=True)]
            agreement = agree(looks, float(answer.settings["threshold"]))
            etag = answer.results[agreement.frame]["frame_etag"]
            self._write(source, looks, agreement, answer.settings, etag, text)
        return {"frames": len(kept), "looks": 1}

    def _look_once_or_twice(self, source: Source, head: store.Head) -> dict[str, Any]:
        """Answer from the first frame or, with FRAMES=auto, from more if that gives no name.

        `head` describes the frame in stage-1.
        """
        with self._footage(source) as footage:
            with logged("frames", source) as notes:
                kept = self._kept_frame(source, head)
                is_reused = kept is not None
                notes.update(frames=1, reused=is_reused)
                if kept is None:
                    with logged("ffmpeg", source):
                        first = footage.first()
                    (kept,) = self._put(source, [first])
            self._tidy(source, 0)
            with logged("invoke", source) as notes:
                notes.update(look=1, frames=1)
                answer = self._recognize_first(source, kept, is_reused)
                notes.update(_slot(answer))
            store.check_frames_match(source, answer.results)
            if self.plan.is_auto and not self._is_answered(kept, answer):
                notes = self._look_again(source, footage, kept, answer)
            else:
                notes = {"frames": 1, "looks": 1}
                if self.answers == video_answer.DETAILS and not answer.unchanged:
                    looks = [_look(kept, answer.results[0])]
                    agreement = agree(looks, float(answer.settings["threshold"]))
                    etag = answer.results[0]["frame_etag"]
                    self._write(source, looks, agreement, answer.settings, etag)
        return notes

    def _look_again(
        self, source: Source, footage: Footage, kept: Stored, answer: Answer
    ) -> dict[str, Any]:
        """Answer from up to four more frames, spread over the video, and the first one.

        If there is no time for another call of the recognizer, or no further frame, from the first
        one alone.
        """
        seen = {kept.index: (kept, answer.results[0])}
        taken: list[Frame] = []
        if self._allowed_s() >= 1:
            with logged("frames", source) as notes:
                taken = self._spread(source, footage)
                # A frame kept by an earlier event need not be the first one.
                more = [frame for frame in taken if frame.index not in seen]
                numbered = partial(keys.numbered_key, source.key)
                stored = self._put(source, more, numbered)
                notes.update(frames=len(stored), **_cut(footage))
            if stored:
                with logged("invoke", source) as notes:
                    notes.update(look=2, frames=len(stored))
                    second = self._recognize(stored)
                    notes.update(_slot(second))
                store.check_frames_match(source, second.results)
                self.recognizer.check_same_settings([answer, second])
                pairs = zip(stored, second.results, strict=True)
                seen |= {one.index: (one, result) for one, result in pairs}
        ordered = [seen[index] for index in sorted(seen)]
        looks = [_look(one, result) for one, result in ordered]
        agreement = agree(looks, float(answer.settings["threshold"]))
        chosen, result = ordered[agreement.frame]
        etag = result["frame_etag"]
        if chosen.key != kept.key:
            key, frame = keys.frame_key(source.key), taken[chosen.index]
            put = store.put_frame(self.s3, self.stage, source, self.plan, 1, key, frame)
            etag = put.etag
        with logged("tidy", source) as notes:
            notes["removed"] = store.remove_surplus(self.s3, self.stage, source, 0)
        # The text comes after its frame: a retry trusts a frame other than the first only if the
        # text names it.
        self._write(source, looks, agreement, answer.settings, etag)
        return {"frames": len(looks), "looks": 2 if len(seen) > 1 else 1}

    def _kept_frame(self, source: Source, head: store.Head) -> Stored | None:
        """The frame of this very video in stage-1, unless its answer is unfinished."""
        kept = store.kept_frames(self.s3, self.stage, source, self.plan, head)
        if not kept or kept[0].index == 0:
            return kept[0] if kept else None
        expected = {**source.metadata, "frame-etag": kept[0].etag}
        return kept[0] if expected.items() <= self._metadata_of_text(source).items() else None

    def _metadata_of_text(self, source: Source) -> dict[str, str]:
        return store.described(self.s3, self.output, keys.text_key(source.key))[1]

    def _recognize_first(self, source: Source, kept: Stored, is_reused: bool) -> Answer:
        """The answer to the first look.

        The recognizer writes the text if there is a name, and looks no further. Details need all
        faces: the frame is then sent as one of several are, and the splitter writes the text.
        """
        if self.answers == video_answer.DETAILS:
            text = self._metadata_of_text(source) if is_reused else {}
            return self._recognize([kept], self._settings_of_answer(source, [kept], text))
        write = "known" if self.plan.is_auto else "always"
        return self.recognizer.recognize_one(self.stage, kept.key, write, self.remaining_s)

    def _is_answered(self, kept: Stored, answer: Answer) -> bool:
        """Whether the first look gave a name, or an earlier event has answered the video."""
        if self.answers == video_answer.TEXT:
            return answer.results[0]["written"]
        if answer.unchanged:
            return True
        # A frame kept from a second look has a name, but the details are of all its frames.
        names = [face["name"] for face in answer.results[0]["faces"]]
        return kept.index == 0 and any(name != UNKNOWN for name in names)

    def _has_details(self, source: Source, settings: dict[str, str], frame_etag: str) -> bool:
        origin = video_answer.details_origin(source, settings, frame_etag)
        found = store.described(self.s3, self.output, keys.json_key(source.key))[1]
        return origin.items() <= found.items()

    def _settings_of_answer(
        self, source: Source, kept: Sequence[Stored], text: dict[str, str]
    ) -> dict[str, str]:
        """The settings of the answer that was made from these frames; empty if there is none.

        `text` has the metadata of the text.
        """
        expected = {**source.metadata, "answers": self.answers}
        if not self.plan.is_auto:  # a second look keeps one of several frames
            expected["frames"] = str(len(kept))
        etag = text.get("frame-etag", "")
        settings = {name: text[name] for name in SETTINGS if name in text}
        if (
            not expected.items() <= text.items()
            or etag not in {one.etag for one in kept}
            or len(settings) != len(SETTINGS)
            or (
                self.answers == video_answer.DETAILS
                and not self._has_details(source, settings, etag)
            )
        ):
            return {}
        return settings

    def _recognize(
        self, frames: Sequence[Stored], unchanged: dict[str, str] | None = None
    ) -> Answer:
        wanted = [frame.key for frame in frames]
        return self.recognizer.recognize_all(self.stage, wanted, self.remaining_s, unchanged)

    def _allowed_s(self) -> float:
        """How long ffmpeg may run so that there is time for a call of the recognizer."""
        call_s = self.recognizer.timeout_s + READ_MARGIN_S
        return self.remaining_s() - call_s - MARGIN_S

    @contextmanager
    def _footage(self, source: Source) -> Iterator[Footage]:
        """The video's frames, taken when they are asked for; their files end with the context."""
        seconds = min(self.ffmpeg_s, self.remaining_s() - MARGIN_S)
        url = store.presigned(self.s3, source, int(self.remaining_s()) + 60)
        # ffmpeg tries a request three times.
        stall_s = min(ffmpeg.STALL_S, self.ffmpeg_s / 6)
        video = ffmpeg.Video(url, source.etag, self.ca_file, size=source.size, stall_s=stall_s)
        with tempfile.TemporaryDirectory(prefix="frames-") as folder:
            fetch = partial(store.fetch, self.s3, source)
            yield Footage(Camera(video, Path(folder), seconds, self._allowed_s, fetch))

    def _spread(self, source: Source, footage: Footage) -> list[Frame]:
        with logged("ffmpeg", source):
            return footage.spread(self.plan.frames)

    def _put(
        self, source: Source, taken: Sequence[Frame], key: Callable[[int], str] | None = None
    ) -> list[Stored]:
        """Upload frames, under the keys of frames that are kept or under others."""
        name = key or partial(self.plan.key, source.key)

        def put(frame: Frame) -> Stored:
            target = name(frame.index)
            return store.put_frame(
                self.s3, self.stage, source, self.plan, len(taken), target, frame
            )

        if not taken:
            return []
        with logged("upload", source), ThreadPoolExecutor(max_workers=4) as pool:
            return list(pool.map(put, taken))

    def _write(
        self,
        source: Source,
        looks: Sequence[Look],
        agreement: Agreement,
        settings: dict[str, str],
        frame_etag: str,
        text: dict[str, str] | None = None,
    ) -> None:
        """Write an answer; `text` has the metadata of the text, if they were read."""
        with logged("agree", source) as notes:
            answer = video_answer.Answer(
                source, looks, agreement, settings, frame_etag, self.answers
            )
            # Details first: the text says that they are there.
            if self.answers == video_answer.DETAILS:
                video_answer.put_details(self.s3, self.output, answer)
            notes["written"] = video_answer.put_text(self.s3, self.output, answer, text)

    def _tidy(self, source: Source, count: int) -> None:
        """Remove frames from index `count` on and what other settings or older versions left.

        Must come before the text: clients count objects as soon as they see it.
        """
        with logged("tidy", source) as notes, ThreadPoolExecutor(max_workers=3) as pool:
            jobs = [
                pool.submit(store.remove_surplus, self.s3, bucket, source, from_index)
                for bucket, from_index in ((self.stage, count), (self.output, 0))
            ]
            is_kept = self.answers == video_answer.DETAILS
            remove = video_answer.remove_details
            jobs.append(pool.submit(remove, self.s3, self.output, source, is_kept))
            notes["removed"] = sum(job.result() for job in jobs)


def _look(frame: Stored, result: Result) -> Look:
    return Look(frame.time, result["faces"], frame.damaged)


def _slot(answer: Answer) -> dict[str, Any]:
    """What the log says about waiting for an environment of the recognizer, if there was any."""
    return {"slot_ms": round(answer.slot_s * 1000, 1)} if answer.slot_s else {}


def _cut(footage: Footage) -> dict[str, str]:
    return {"cut": footage.cut} if footage.cut else {}
