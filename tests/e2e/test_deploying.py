"""A deployment that is killed anywhere leaves a pipeline that answers every upload."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import botocore.client
import pytest
from click.testing import CliRunner

from deploy.deploy import main
from local_aws.process import LocalAWS
from pipeline.settings import Deployment
from samples.one_at_a_time import one_at_a_time
from samples.stack import BUILD, REGISTRY, assemble_image, client_side, enroll, fetch_model
from tests.deploy.conftest import see_limit

GALLERY = "deploying-gallery"
# The local AWS runs each repository's images from a folder: the gallery is part of one of them.
WITH_GALLERY, WITHOUT_GALLERY = "with-gallery", "without-gallery"
# The calls that change rights, code or settings of what runs.
RISKY = (
    *("PutRolePolicy", "DeleteRolePolicy", "UpdateFunctionCode", "UpdateFunctionConfiguration"),
    *("UpdateAlias", "DeleteAlias", "DeleteFunction", "RemovePermission"),
)
READS = ("Get", "List", "Describe", "Head")


class Killed(BaseException):
    """deploy.py ends between two API calls, as with kill -9."""


@dataclass
class Pipeline:
    """A deployed pipeline with two images, and how to change it one writing call at a time."""

    aws: LocalAWS
    deployment: Deployment
    model: str
    video: Path
    s3: Any
    numbers: Iterator[int] = field(default_factory=count)

    def options(self, where: str, *more: str) -> list[str]:
        """The options of deploy.py for one of the images."""
        uri = f"{REGISTRY.format(region=self.aws.region)}/{where}:1"
        gallery = f"s3://{GALLERY}/data.pt" if where == WITHOUT_GALLERY else ""
        chosen = {"MODEL": self.model, "GALLERY_URI": gallery}
        words = ["--prefix", self.deployment.prefix, "--namespace", self.deployment.namespace]
        words += ["--zip", str(BUILD / "ffmpeg.zip"), "--image-uri", uri, *more]
        return words + [
            w for k, v in chosen.items() for w in ("--set", f"face-recognition.{k}={v}")
        ]

    def deploy(self, options: list[str]) -> str:
        """Run deploy.py in this process; return what it said."""
        done = CliRunner().invoke(main, options, env=dict(self.aws.environ))
        assert done.exit_code == 0, done.output
        return done.stderr

    def answer(self, seconds: float = 90) -> str:
        """Upload a video and return its answer, which must come at the first attempt.

        Without an answer, return what the functions logged.
        """
        name, since_ms = f"video-{next(self.numbers)}", int(time.time() * 1000)
        self.s3.upload_file(str(self.video), self.deployment.input_bucket, f"{name}.mp4")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                key = f"{name}.txt"
                found = self.s3.get_object(Bucket=self.deployment.output_bucket, Key=key)
                return str(found["Body"].read().decode())
            except self.s3.exceptions.NoSuchKey:
                time.sleep(0.1)
        logs = client_side(self.aws).client("logs")
        groups = [function.log_group for function in self.deployment.functions]
        found = [logs.filter_log_events(logGroupName=name, startTime=since_ms) for name in groups]
        lines = [event["message"] for page in found for event in page["events"]]
        return "\n".join((f"no answer within {seconds} s", *lines))


@pytest.fixture(scope="module")
def live(people: Path, videos: Path, ffmpeg_zip: Path) -> Iterator[Pipeline]:
    """The pipeline with its gallery in S3. A failed event is not tried again in time."""
    deployment = Deployment("deploying", "deploying")
    folders = {name: BUILD / f"image-{name}" for name in (WITH_GALLERY, WITHOUT_GALLERY)}
    with one_at_a_time():
        model = fetch_model(None)
        gallery = enroll(people, model)
        for name, folder in folders.items():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            assemble_image(gallery, model, folder)
            if name == WITHOUT_GALLERY:
                (folder / "data.pt").unlink()
            assert (folder / "s3-data").is_dir()
        data = gallery.read_bytes()
    try:
        with LocalAWS(images=folders, async_retry_delays="600,600") as aws:
            s3 = client_side(aws).client("s3")
            s3.create_bucket(Bucket=GALLERY)
            s3.put_object(Bucket=GALLERY, Key="data.pt", Body=data)
            made = Pipeline(aws, deployment, model, videos / "test_00.mp4", s3)
            made.deploy(made.options(WITHOUT_GALLERY))
            yield made
    finally:
        for folder in folders.values():
            shutil.rmtree(folder)


@pytest.fixture
def step_by_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Kill each deployment before its second writing call; give the calls made so far."""
    monkeypatch.setattr("deploy.roles.SETTLING_S", 0)  # the local AWS gives new rights at once
    real = vars(botocore.client.BaseClient)["_make_api_call"]
    made: list[str] = []

    def make_api_call(client: Any, name: str, params: Any) -> Any:
        if not name.startswith(READS):
            if made:
                raise Killed
            made.append(name)
        return real(client, name, params)

    def begin() -> list[str]:
        made.clear()
        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", make_api_call)
        return made

    return begin


def change(
    live: Pipeline,
    options: list[str],
    begin: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    watched: tuple[str, ...],
) -> list[str]:
    """Deploy with `options` in runs of one writing call each, and upload a video after each.

    Videos are uploaded only after the calls in `watched`, if it names any. Returns the calls.
    """
    real = vars(botocore.client.BaseClient)["_make_api_call"]
    calls: list[str] = []
    while True:
        made = begin()
        try:
            live.deploy(options)
            is_done = True
        except Killed:
            is_done = False
        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", real)
        calls += made
        if made and (not watched or made[0] in watched):
            assert live.answer() == "Barack Obama", f"after {calls}"
        if is_done:
            return calls
        assert len(calls) < 60, calls


NEXT = (
    *("--set", "video-splitting.FRAMES=2", "--set", "face-recognition.FACES=all"),
    *("--stage-1-days", "3"),
)


@pytest.mark.slow
def test_what_runs_answers_after_each_change_of_rights_code_and_settings(
    live: Pipeline, step_by_step: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    live.deploy(live.options(WITHOUT_GALLERY))
    assert live.answer() == "Barack Obama"

    # WHEN the gallery becomes part of the image, and goes back to S3
    for where in (WITH_GALLERY, WITHOUT_GALLERY):
        options = live.options(where)
        calls = change(live, options, step_by_step, monkeypatch, RISKY)

        # THEN a copy of the old recognizer ran meanwhile, and the right to read S3 came and went
        assert "PublishVersion" in calls
        assert calls[0 if where == WITHOUT_GALLERY else -1] == "PutRolePolicy"
        assert calls.count("PutRolePolicy") == 1
        assert "Done, 0 changes." in live.deploy(options)


@pytest.mark.slow
@pytest.mark.parametrize("snapstart", [(), ("--snapstart",)], ids=["plain", "snapstart"])
def test_what_runs_answers_after_every_writing_call(
    live: Pipeline,
    step_by_step: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    snapstart: tuple[str, ...],
) -> None:
    live.deploy(live.options(WITHOUT_GALLERY))

    for where in (WITH_GALLERY, WITHOUT_GALLERY):
        options = live.options(where, *NEXT, *snapstart)
        calls = change(live, options, step_by_step, monkeypatch, ())
        assert calls.count("UpdateFunctionCode") == 1
        assert "Done, 0 changes." in live.deploy(options)


@pytest.mark.slow
def test_no_upload_is_lost_while_a_queue_comes_and_goes(
    live: Pipeline, step_by_step: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = live.options(WITHOUT_GALLERY)
    live.deploy(options)

    # WHEN nothing can be reserved any more, and later again
    removed = ["RemovePermission"], ["DeleteEventSourceMapping", "DeleteQueue", "PutRolePolicy"]
    for limit, last in zip((10, 1000), removed, strict=True):
        see_limit(monkeypatch, limit)
        monkeypatch.setattr("deploy.trigger.SWITCHING_S", 600)
        calls = change(live, options, step_by_step, monkeypatch, ())

        # THEN each upload was answered, and a deployment some minutes later removes the other way
        assert calls[-1] == "PutBucketNotificationConfiguration"
        assert not set(calls) & set(last[:2])
        assert "Done, 0 changes." in live.deploy(options)
        monkeypatch.setattr("deploy.trigger.SWITCHING_S", 0)
        assert change(live, options, step_by_step, monkeypatch, ()) == last
        assert "Done, 0 changes." in live.deploy(options)
