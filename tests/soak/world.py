"""A pipeline on the local AWS, what was uploaded to it, and what can go wrong there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import struct
from collections import Counter
from csv import DictReader
from hashlib import md5
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from bench.uploads import peak_mb
from deploy.parts.rights import POLICY_NAME
from local_aws.process_tree import members
from pipeline.keys import output_key, stem
from pipeline.queue_reader import Sweep
from pipeline.settings import Function
from samples.stack import Stack, client_side
from tests.e2e.conftest import metric_sum

LOOKED_AT_TWICE = ("test_05.mp4", "test_10.mp4")  # a stranger, and nobody
VIDEOS = ("test_00.mp4", "test_02.mp4", "test_03.mp4", *LOOKED_AT_TWICE)
BROKEN = {
    "empty": b"",
    "text": b"This is not a video. ",
    "cut": b"",  # the start of a video
}
WHOLE_POLICY = "the whole policy"
REPORTS = ("ReportFailures", WHOLE_POLICY)  # without these, the splitter cannot report a failure


class World:
    """The pipeline and everything known about it. `figures` counts what happened."""

    def __init__(self, stack: Stack, videos: Path) -> None:
        """Use the pipeline of `stack` and sample videos from the folder `videos`."""
        self.stack = stack
        self.deployment = stack.deployment
        aws = client_side(stack.aws)
        self.s3: Any = aws.client("s3")
        self._sqs: Any = aws.client("sqs")
        self._iam: Any = aws.client("iam")
        self._lambda: Any = aws.client("lambda")
        self._metrics: Any = aws.client("cloudwatch")
        self._queue = self._sqs.get_queue_url(QueueName=self.deployment.failure_queue)["QueueUrl"]
        with (videos / "expected.csv").open(encoding="utf-8") as file:
            names = {row["video"]: row["name"] for row in DictReader(file)}
        self._videos = {name: ((videos / name).read_bytes(), names[name]) for name in VIDEOS}
        self._number = count(1)
        self._policies: dict[str, Any] = {}
        self.names: dict[str, str | None] = {}  # of each uploaded ETag; None: it cannot be read
        self.figures: Counter[str] = Counter()
        self.peaks: dict[str, float] = {}  # in MB, by process
        # Other tests ran in this process: forget its peak, and count what comes on top.
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        self._client_mb = peak_mb(os.getpid())

    # What a user does

    def upload(self, key: str, video: str) -> str:
        """Upload the sample, which differs from every other upload in its last bytes."""
        content, name = self._videos[video]
        padding = b"%012d" % next(self._number)
        return self.put(
            key, content + struct.pack(">I4s", 8 + len(padding), b"free") + padding, name
        )

    def upload_broken(self, key: str, kind: str) -> str:
        """Upload what cannot be read."""
        content = self._videos["test_00.mp4"][0][:700] if kind == "cut" else BROKEN[kind]
        return self.put(key, content + (b"%012d" % next(self._number) if content else b""), None)

    def put(self, key: str, content: bytes, name: str | None) -> str:
        """Upload `content`; return its ETag. `name` is what its text must say."""
        etag = md5(content).hexdigest()
        self.names[etag] = name
        self.s3.put_object(Bucket=self.deployment.input_bucket, Key=key, Body=content)
        return etag

    def delete(self, key: str) -> None:
        """Delete the video."""
        self.s3.delete_object(Bucket=self.deployment.input_bucket, Key=key)

    def set_frames(self, frames: str) -> None:
        """Deploy the splitter with this setting of FRAMES."""
        name = self.deployment.splitter.name
        found = self._lambda.get_function_configuration(FunctionName=name)["Environment"]
        if found["Variables"]["FRAMES"] == frames:
            return
        variables = {**found["Variables"], "FRAMES": frames}
        environment = {"Variables": variables}
        self._lambda.update_function_configuration(FunctionName=name, Environment=environment)

    def clear(self, prefix: str) -> None:
        """Delete all objects below `prefix`, and all messages."""
        for bucket in self.deployment.buckets:
            for item in self.objects(bucket, prefix):
                self.s3.delete_object(Bucket=bucket, Key=item)
        sweep = self._sweep()
        for events in sweep:
            sweep.delete(events)

    # What goes wrong

    def kill(self, function: Function) -> int:
        """Kill the environments of a function, busy or not; return how many processes."""
        killed = 0
        for pid in self._processes(function):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        return killed

    def take_right(self, role: str, sid: str) -> None:
        """Take a statement of the role's policy away, or all of it."""
        name = {"RoleName": role, "PolicyName": POLICY_NAME}
        policy = self._iam.get_role_policy(**name)["PolicyDocument"]
        self._policies[role] = policy
        if sid == WHOLE_POLICY:
            self._iam.delete_role_policy(**name)
            return
        less = [statement for statement in policy["Statement"] if statement["Sid"] != sid]
        document = json.dumps({**policy, "Statement": less})
        self._iam.put_role_policy(**name, PolicyDocument=document)

    def give_rights_back(self) -> None:
        """Give back all that was taken."""
        for role, policy in self._policies.items():
            self._iam.put_role_policy(
                RoleName=role, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(policy)
            )
        self._policies.clear()

    def send_event(self, key: str, etag: str) -> None:
        """Send the event of a version again, as S3 may."""
        about = {"bucket": {"name": self.deployment.input_bucket}, "object": {"key": key}}
        about["object"]["eTag"] = etag
        self._lambda.invoke(
            FunctionName=self.deployment.splitter.name,
            InvocationType="Event",
            Payload=json.dumps({"Records": [{"s3": about}]}),
        )

    # What can be seen

    def objects(self, bucket: str, prefix: str) -> list[str]:
        """The keys in a bucket that begin with `prefix`."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def text(self, key: str) -> tuple[str, str] | None:
        """The text at this key of the output bucket and its source's ETag; None without one."""
        try:
            found = self.s3.get_object(Bucket=self.deployment.output_bucket, Key=key)
        except self.s3.exceptions.NoSuchKey:
            return None
        return found["Body"].read().decode(), found["Metadata"]["source-etag"]

    def answer(self, key: str) -> tuple[str, str] | None:
        """The same of a video's text."""
        return self.text(output_key(key))

    def frames(self, key: str) -> dict[str, str]:
        """The ETags of the source of each of a video's frames."""
        stage, start = self.deployment.stage_1_bucket, stem(key)
        own = re.compile(re.escape(start) + r"(/output-\d+)?\.jpg")
        keys = [key for key in self.objects(stage, start) if own.fullmatch(key)]
        heads = {name: self.s3.head_object(Bucket=stage, Key=name) for name in keys}
        return {name: head["Metadata"]["source-etag"] for name, head in heads.items()}

    def reported(self) -> set[tuple[str, str]]:
        """The keys and ETags that messages in the failure queue name."""
        sweep = self._sweep()
        bodies = [event.record for events in sweep for event in events]
        sweep.release()
        found = [record["s3"] for b in bodies for record in b["requestPayload"]["Records"]]
        return {(unquote_plus(s3["object"]["key"]), s3["object"]["eTag"]) for s3 in found}

    def _sweep(self) -> Sweep:
        return Sweep(self._sqs, self._queue, lambda _: 10, 0)

    def ended(self) -> float:
        """How many invocations of both functions have ended."""
        functions = self.deployment.functions
        return sum(metric_sum(self._metrics, function, "Invocations") for function in functions)

    def measure(self) -> None:
        """Note the peak memory of the server and of environments, and what this process gained."""
        self.peaks["client"] = peak_mb(os.getpid()) - self._client_mb
        pids = {"server": [self.stack.aws.pid]}
        pids |= {f.key: self._processes(f) for f in self.deployment.functions}
        for name, found in pids.items():
            for pid in found:
                with contextlib.suppress(FileNotFoundError, ProcessLookupError, RuntimeError):
                    self.peaks[name] = max(self.peaks.get(name, 0), peak_mb(pid))

    def _processes(self, function: Function) -> list[int]:
        """The processes of a function's environments."""
        variable = f"AWS_LAMBDA_FUNCTION_NAME={function.name}".encode()
        return [pid for pid in members(self.stack.aws.pid)[1:] if variable in _environ(pid)]


def _environ(pid: int) -> list[bytes]:
    """The environment of a process; [] if it has ended."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
