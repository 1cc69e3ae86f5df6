"""Drives a run: uploads videos and watches for answers and failures until a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from pipeline.aws import Aws
from pipeline.settings import Deployment
from workload.running.answer_poll import Answers
from workload.running.buckets import s3_skew
from workload.running.failure_queue import EVENT_TIME_MARGIN_S, Failure, Watch, peek, read_or_note
from workload.running.run import VideoRun, WorkloadRun
from workload.running.uploads import Uploader
from workload.running.videos import Upload

PEEK_EVERY_S = 3.0  # least time between two looks into the failure queue
POLL_S = 0.2  # between two listings of the output bucket; limits how exact latencies are


class Drive:
    """One run of the generator. `result` returns what is known at any moment."""

    def __init__(
        self,
        aws: Aws,
        deployment: Deployment,
        uploads: Sequence[Upload],
        concurrency: int,
        interval: float,
        note: Callable[[str], None],
    ) -> None:
        """List existing outputs and measure S3's clock. Nothing is uploaded yet."""
        s3 = aws.client("s3")
        self._aws = aws
        self._deployment = deployment
        self._note = note
        # List before measuring: measuring waits for the next second, so no output of this run can
        # have the same LastModified as one listed here.
        keys = [upload.key for upload in uploads]
        self._answers = Answers(s3, deployment.input_bucket, deployment.output_bucket, keys)
        self.skew_s = s3_skew(s3, deployment.input_bucket)
        self._uploader = Uploader(s3, deployment.input_bucket, uploads, concurrency, interval)
        self._answered_at: dict[str, float] = {}
        self._failures: dict[str, str] = {}
        self._watch = Watch(aws, deployment.failure_queue)
        self._next_peek = 0.0
        self._can_peek = True
        self._has_waited = False
        self.has_read_queue = False  # at the end of the run
        self._started = self._ended = time.time()

    @property
    def uploaded(self) -> int:
        """How many videos have been uploaded."""
        return len(self._uploader.stored())

    @property
    def settled(self) -> int:
        """How many videos have an answer or are known to have failed."""
        return len(set(self._answered_at) | set(self._failures))

    def upload(self, progress: Callable[[], None]) -> None:
        """Upload everything without waiting for answers. Raises AwsError if an upload fails."""
        self._go(0, lambda: None, progress)

    def upload_and_wait(self, deadline_s: float, progress: Callable[[], None]) -> None:
        """Upload everything and wait for answers until `deadline_s` after the last upload.

        Raises AwsError if an upload fails; `result` still has the earlier ones.
        """
        self._has_waited = True
        try:
            self._go(deadline_s, self._look, progress)
        finally:
            self._watch.stop()
        self._learn(self._watch.take)
        if self._waiting() and self._can_peek:
            queue = self._deployment.failure_queue
            self.has_read_queue = self._learn(partial(peek, self._aws, queue, wait_s=1))

    def _go(
        self, deadline_s: float, look: Callable[[], None], progress: Callable[[], None]
    ) -> None:
        self._started = time.time()
        self._uploader.start()
        uploads_ended = None
        try:
            while True:
                is_uploaded = self._uploader.is_done
                began = time.monotonic()
                look()
                progress()
                now = time.monotonic()
                if is_uploaded:
                    uploads_ended = uploads_ended or began
                    if not self._waiting() or now >= uploads_ended + deadline_s:
                        return
                # A large bucket takes long to list: spend at most a third of the time on it.
                time.sleep(max(POLL_S, 2 * (now - began)))
        finally:
            self._uploader.stop()
            self._ended = time.time()

    def give_up(self, key: str, reason: str) -> None:
        """Stop waiting for a video that has failed for good."""
        if key not in self._answered_at:
            self._failures.setdefault(key, reason)

    def _waiting(self) -> set[str]:
        return set(self._uploader.stored()) - set(self._answered_at) - set(self._failures)

    def _look(self) -> None:
        stored = self._uploader.stored()
        if not stored:
            return
        for key in self._answers.poll(stored):
            self._answered_at[key] = time.time()
            self._failures.pop(key, None)
        if not self._can_peek:
            return
        self._learn(self._watch.take)
        if time.monotonic() >= self._next_peek and self._waiting():
            self._watch.begin()
            self._next_peek = time.monotonic() + PEEK_EVERY_S

    def _learn(self, read: Callable[[], list[Failure]]) -> bool:
        """Record this run's failures from `read`; returns whether the queue could be read."""
        failures = read_or_note(read, self._deployment.failure_queue, self._note_once)
        sent = self._uploader.stored()
        for failure in failures or []:
            if failure.bucket != self._deployment.input_bucket or failure.key not in sent:
                continue
            begun = sent[failure.key].started + self.skew_s - EVENT_TIME_MARGIN_S
            if failure.uploaded >= begun and failure.key not in self._answered_at:
                self._failures[failure.key] = failure.reason
        return failures is not None

    def _note_once(self, text: str) -> None:
        self._can_peek = False
        self._note(text)

    def result(self) -> WorkloadRun:
        """What is known so far: the uploaded videos, with times on S3's clock."""
        videos = []
        for key, sent in self._uploader.stored().items():
            assert sent.stored is not None  # noqa: S101 - by the definition of `stored`
            answered = self._answered_at.get(key)
            is_repeated = key in self._answers.repeated
            if is_repeated:
                answered = sent.stored  # the answer existed before the upload
            videos.append(
                VideoRun(
                    key=key,
                    size_bytes=sent.upload.size_bytes,
                    started=sent.started + self.skew_s,
                    stored=sent.stored + self.skew_s,
                    answered=None if answered is None else answered + self.skew_s,
                    failure=self._failures.get(key, ""),
                    repeated=is_repeated,
                    expected=sent.upload.expected,
                )
            )
        return WorkloadRun(
            prefix=self._deployment.prefix,
            namespace=self._deployment.namespace,
            region=self._aws.region,
            started=self._started + self.skew_s,
            ended=self._ended + self.skew_s,
            skew_s=self.skew_s,
            videos=tuple(videos),
            waited=self._has_waited,
        )
