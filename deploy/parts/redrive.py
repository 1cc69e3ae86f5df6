"""Hands events to the splitter again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from deploy.parts.missing import Upload
from deploy.parts.queues import find_queue
from deploy.parts.upload_queue import is_read
from pipeline.aws import AwsError
from pipeline.cli import Run, counted
from pipeline.queue_reader import BATCH, FailedEvent, Sweep


class Splitter:
    """The way to the splitter. Raises what boto3 raises.

    Where uploads wait in a queue, events go there, so that no more than usual run at once.
    """

    def __init__(self, run: Run) -> None:
        """Find the way."""
        self._name = run.deployment.splitter.name
        self._client, self._sqs = run.aws.client("lambda"), run.aws.client("sqs")
        uploads = find_queue(run, run.deployment.upload_queue) if is_read(run) else None
        self._uploads = uploads[0] if uploads else None

    def send(self, payloads: Sequence[bytes]) -> list[Future[None]]:
        """Send up to ten events at the same time; return how each has ended."""
        with ThreadPoolExecutor(BATCH) as pool:
            return [pool.submit(self._send, payload) for payload in payloads]

    def _send(self, payload: bytes) -> None:
        if self._uploads is not None:
            self._sqs.send_message(QueueUrl=self._uploads, MessageBody=payload.decode())
            return
        self._client.invoke(FunctionName=self._name, InvocationType="Event", Payload=payload)


def send_uploads(run: Run, uploads: Sequence[Upload]) -> None:
    """Send the splitter an event for each upload, as S3 did once.

    An upload that is answered meanwhile is left as it is. Raises ClientError if an event is
    refused; those of the same ten may have been sent.
    """
    splitter = Splitter(run)
    for start in range(0, len(uploads), BATCH):
        some = uploads[start : start + BATCH]
        payloads = [json.dumps(upload.event(run.aws.region)).encode() for upload in some]
        sent = [] if run.dry_run else splitter.send(payloads)
        for upload in some if run.dry_run else _accepted(some, sent):
            run.change("redrive", upload.uri, lambda: None)
        for answer in sent:
            answer.result()


def _accepted(uploads: Sequence[Upload], sent: Sequence[Future[None]]) -> list[Upload]:
    return [upload for upload, answer in zip(uploads, sent) if answer.exception() is None]


class Redrive:
    """Sends the events of messages to the splitter again, and then deletes the messages."""

    def __init__(self, run: Run, sweep: Sweep) -> None:
        """Send what `sweep` has received."""
        self._run, self._sweep = run, sweep
        self._splitter = Splitter(run)
        self._sent: set[bytes] = set()  # hashes of what was sent
        self._failed_again = 0

    def send(self, events: list[FailedEvent]) -> None:
        """Send up to ten events at the same time; an event that was sent before stays in the queue.

        Otherwise one that fails again at once would be sent again and again. Raises ClientError if
        Lambda refuses an event, and AwsError if SQS does not delete a message.
        """
        to_send: list[tuple[FailedEvent, bytes]] = []
        for event in events:
            if "requestPayload" not in event.record:
                self._run.note(f"left    {_shown(event)}: it holds no event")
                continue
            payload = json.dumps(event.record["requestPayload"]).encode()
            digest = hashlib.sha256(payload).digest()
            if digest in self._sent:
                self._failed_again += 1
                continue
            self._sent.add(digest)
            to_send.append((event, payload))
        if self._run.dry_run:
            for event, _ in to_send:
                self._run.change("redrive", _shown(event), lambda: None)
            return
        answers = self._splitter.send([payload for _, payload in to_send])
        # An event that Lambda did not accept must stay in the queue.
        accepted = [
            event for (event, _), answer in zip(to_send, answers) if answer.exception() is None
        ]
        kept = self._sweep.delete(accepted)
        for event in accepted:
            self._run.change("redrive", _shown(event), lambda: None)
        for answer in answers:
            answer.result()
        if kept:
            message_id, reason = next(iter(kept.items()))
            raise AwsError(
                f"The event of message {message_id} was sent to the splitter, but the message "
                f"cannot be deleted from '{self._run.deployment.failure_queue}': {reason}. Redrive "
                "again: an event may be sent twice."
            )

    def end(self) -> None:
        """Report how many events came back."""
        if self._failed_again:
            self._run.note(
                f"Left in the queue: {counted(self._failed_again, 'message')} with an event that "
                "was just sent, which failed again or was there twice."
            )


def videos_of(event: FailedEvent) -> str:
    """Return the URIs of a message's videos for people."""
    return ", ".join(video.uri for video in event.videos) or "no video"


def _shown(event: FailedEvent) -> str:
    return f"{event.message_id} ({videos_of(event)})"
