"""Runs the trials: sends videos through the pipeline one after another, and reads the logs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.aws import Aws, AwsError
from pipeline.bucket_admin import delete_batch
from pipeline.settings import Deployment
from workload.reporting.evidence import gather
from workload.reporting.prices import Prices
from workload.running.buckets import objects
from workload.running.drive import Drive
from workload.running.run import WorkloadRun
from workload.running.videos import Upload
from workload.tuning.figures import Row, Sample, row, sample
from workload.tuning.function_memory import FunctionMemory


@dataclass
class Tuning:
    """The trials of one function.

    Each round goes through all memory settings, so that what else a machine does meanwhile spoils
    no setting alone. A setting at which a video has no answer is not tried again.
    """

    aws: Aws
    deployment: Deployment
    memory: FunctionMemory
    prefix: str
    deadline_s: float
    prices: Prices
    note: Callable[[str], None]
    samples: dict[int, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[int, str] = field(default_factory=dict)

    def run(self, sizes: Sequence[int], rounds: int, videos: Sequence[Path]) -> None:
        """Try each size in each round. Raises AwsError if AWS refuses a call."""
        for number in range(rounds):
            for size in sizes:
                if size not in self.failed:
                    self.note(f"{self.memory.function.name} with {size} MB, round {number + 1} ...")
                    self.memory.set(size)
                    self._try(size, number, videos)

    def _try(self, size: int, number: int, videos: Sequence[Path]) -> None:
        """Send a video for the cold start, then each video; keep what the logs say."""
        function, runs, files = self.memory.function, [], {}
        for index, video in enumerate((videos[0], *videos)):
            key = f"{self.prefix}{function.key}-{size}-{number}-{index}{video.suffix}"
            files[key] = video.name
            run = self._send(Upload(key, video, video.stat().st_size))
            (sent,) = run.videos
            runs.append(run)
            if sent.answered is None:
                why = sent.failure or f"no answer in {self.deadline_s:g} s"
                self.failed[size] = f"{video.name}: {why}"
                self.note(f"  {self.failed[size]}")
                break
        whole = replace(
            runs[-1], started=runs[0].started, videos=tuple(v for run in runs for v in run.videos)
        )
        evidence = gather(self.aws, self.deployment, whole)
        for key, name in files.items():
            found = evidence.of_video.get(key, [])
            splitter = [i for owner, i in found if owner == self.deployment.splitter]
            recognizer = [i for owner, i in found if owner == self.deployment.recognizer]
            tuned = splitter if function == self.deployment.splitter else recognizer
            if all(i.report is None or i.report.memory_mb == size for i in tuned):
                one = sample(name, tuned, splitter, recognizer, self.prices)
                self.samples[size] += [] if one is None else [one]

    def _send(self, upload: Upload) -> WorkloadRun:
        drive = Drive(self.aws, self.deployment, [upload], 1, 0, self.note)
        drive.upload_and_wait(self.deadline_s, lambda: None)
        return drive.result()

    def rows(self, sizes: Sequence[int]) -> list[Row]:
        """What is known about the sizes that were tried."""
        tried = [size for size in sizes if size in self.samples or size in self.failed]
        return [row(size, self.samples[size], self.failed.get(size, "")) for size in tried]


def delete_objects(aws: Aws, deployment: Deployment, prefix: str) -> None:
    """Delete everything that the trials left in the three buckets. Raises AwsError if refused."""
    s3 = aws.client("s3")
    for bucket in deployment.buckets:
        keys = [item["Key"] for item in objects(s3, bucket, prefix)]
        for first in range(0, len(keys), 1000):
            batch: Any = [{"Key": key} for key in keys[first : first + 1000]]
            for refused in delete_batch(s3, bucket, batch):
                raise AwsError(
                    f"Cannot delete s3://{bucket}/{refused.get('Key')}: {refused.get('Code')}: "
                    f"{refused.get('Message')}. It takes s3:DeleteObject on '{bucket}'."
                )
