"""The tuner, run as a user does."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import Deployment
from samples.clips import make_people
from samples.stack import BUILD, running
from tests.workload.conftest import PLAIN, Done, Place, wait_until

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)


def tune(place: Place, *options: object) -> Done:
    """Run the tuner."""
    namespace = place.deployment.namespace
    names = ("--namespace", namespace) if namespace else ()
    return place.run("workload/tune.py", *names, *options)


def look(place: Place, key: str) -> tuple[int, dict[str, str]]:
    """A function's memory and tags."""
    name = place.deployment.named(key)
    found = place.client("lambda").get_function(FunctionName=name)
    return found["Configuration"]["MemorySize"], found.get("Tags") or {}


@pytest.fixture
def idle(bare: Place) -> Place:
    """Buckets and functions, but nothing that starts them, so no video has an answer."""
    place = Place(bare.aws, Deployment(bare.deployment.prefix, bare.deployment.prefix))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("handler.py", "def handler(event, context):\n    return 1\n")
    role = place.client("iam").create_role(
        RoleName=place.deployment.prefix, AssumeRolePolicyDocument=TRUST
    )["Role"]["Arn"]
    for function in place.deployment.functions:
        place.client("lambda").create_function(
            FunctionName=function.name,
            Role=role,
            Runtime="python3.12",
            Handler="handler.handler",
            Code={"ZipFile": archive.getvalue()},
            MemorySize=640,
            Tags={"project": "x"},
            Environment={"Variables": {"RECOGNITION_FUNCTION": place.deployment.recognizer.name}},
        )
    return place


def test_a_pipeline_is_measured_and_left_as_it_was(
    emptied: Place, videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.mp4").write_bytes((videos / "test_02.mp4").read_bytes())
    before = [look(emptied, f.key) for f in emptied.deployment.functions]

    done = tune(emptied, "--testcase-folder", tmp_path, "--memory", 700, "--repeat", 1, "--json")

    assert done.returncode == 0, done.stderr
    assert "runs without --cpu-share" in done.stderr
    tables = json.loads(done.stdout)["functions"]
    assert [table["function"] for table in tables] == ["video-splitting", "face-recognition"]
    for table, (memory_mb, _) in zip(tables, reversed(before), strict=True):
        assert table["memory_mb"] == memory_mb
        (row,) = table["settings"]
        # One video starts the function, the other finds it warm.
        assert (row["memory_mb"], row["cold"], row["warm"], row["failed"]) == (700, 1, 1, "")
        assert 0 < row["warm_ms"] < row["cold_ms"]
        assert 0 < row["usd_per_1000_videos"] < row["usd_per_1000_videos_of_both"]
        assert table["cheapest_mb"] == table["fastest_sensible_mb"] == 700
    assert [look(emptied, f.key) for f in emptied.deployment.functions] == before
    assert [emptied.keys(bucket) for bucket in emptied.deployment.buckets] == [[], [], []]


@pytest.mark.slow
def test_a_video_without_an_answer_ends_a_setting_but_not_the_run(
    idle: Place, folder: Path
) -> None:
    options = ("--function", "video-splitting", "--memory", "256,512", "--deadline", 0.5)
    s3, (first, _, last) = idle.client("s3"), idle.deployment.buckets
    s3.put_object(Bucket=first, Key="own.mp4", Body=b"")
    s3.put_object(Bucket=last, Key="own.txt", Body=b"")

    done = tune(idle, "--testcase-folder", folder, *options)

    assert done.returncode == 1
    assert done.stdout.count("a.mp4: no answer in 0.5 s") == 2
    assert "round 2" not in done.stderr
    assert look(idle, "video-splitting") == (640, {"project": "x"})
    assert [idle.keys(bucket) for bucket in (first, last)] == [["own.mp4"], ["own.txt"]]


@contextmanager
def uploading(idle: Place, folder: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A tuner that tries 1,024 MB and has uploaded its first video."""
    words = ("--namespace", idle.deployment.namespace, "--testcase-folder", folder)
    argv = idle.argv("workload/tune.py", *words, "--memory", "1024", *more)
    with subprocess.Popen(
        argv, env={**PLAIN, **idle.aws.environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        wait_until(lambda: bool(idle.keys(idle.deployment.input_bucket)), 60)
        yield process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_was_is_put_back_when_stopped(
    idle: Place, folder: Path, number: signal.Signals
) -> None:
    with uploading(idle, folder) as process:
        memory_mb, tags = look(idle, "video-splitting")
        assert memory_mb == 1024
        assert tags["tuned-from"].startswith("640:tune-")

        process.send_signal(number)
        process.send_signal(number)  # an impatient user's
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 130, errors
    assert b"has its 640 MB again" in errors
    assert look(idle, "video-splitting") == (640, {"project": "x"})
    assert idle.keys(idle.deployment.input_bucket) == []


@pytest.mark.slow
def test_it_says_how_to_put_back_what_it_cannot(idle: Place, folder: Path) -> None:
    name = idle.deployment.splitter.name
    with uploading(idle, folder, "--deadline", "2") as process:
        idle.client("lambda").delete_function(FunctionName=name)
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 1
    (line,) = [line for line in errors.decode().splitlines() if line.startswith("Error:")]
    assert f"Function '{name}' could not be given back its 640 MB" in line
    assert f"update-function-configuration --function-name {name} --memory-size 640" in line


def test_two_tuners_do_not_meet_and_a_killed_ones_traces_are_removed(
    idle: Place, folder: Path
) -> None:
    client, name = idle.client("lambda"), idle.deployment.recognizer.name
    arn = client.get_function(FunctionName=name)["Configuration"]["FunctionArn"]
    client.tag_resource(Resource=arn, Tags={"tuned-from": "300:tune-then/"})
    idle.client("s3").put_object(Bucket=idle.deployment.input_bucket, Key="tune-then/a.mp4")

    refused = tune(idle, "--testcase-folder", folder)

    assert refused.returncode == 1
    assert f"'{name}' is being tuned" in refused.stderr
    assert "workload/tune.py --prefix" in refused.stderr
    assert look(idle, "face-recognition")[0] == 640
    assert "back its 300 MB" in tune(idle, "--restore", "--dry-run").stderr
    assert look(idle, "face-recognition")[0] == 640

    restored = tune(idle, "--restore")

    assert restored.returncode == 0, restored.stderr
    assert "no tuner changed it" in restored.stderr  # the splitter
    assert look(idle, "face-recognition") == (300, {"project": "x"})
    assert idle.keys(idle.deployment.input_bucket) == []


@pytest.mark.parametrize("tag", ["300:", "300", "300:a/", "300:tune-", ":tune-then/"])
def test_a_tag_that_no_tuner_wrote_deletes_nothing(idle: Place, tag: str) -> None:
    client, name = idle.client("lambda"), idle.deployment.recognizer.name
    arn = client.get_function(FunctionName=name)["Configuration"]["FunctionArn"]
    client.tag_resource(Resource=arn, Tags={"tuned-from": tag})
    idle.client("s3").put_object(Bucket=idle.deployment.input_bucket, Key="a.mp4")

    restored = tune(idle, "--restore")

    assert restored.returncode == 0, restored.stderr
    assert restored.stderr.count("no tuner changed it") == 2
    assert look(idle, "face-recognition")[0] == 640
    assert idle.keys(idle.deployment.input_bucket) == ["a.mp4"]


def test_a_published_version_is_not_tuned(idle: Place, folder: Path) -> None:
    splitter, called = idle.deployment.splitter.name, f"{idle.deployment.recognizer.name}:live"
    idle.client("lambda").update_function_configuration(
        FunctionName=splitter, Environment={"Variables": {"RECOGNITION_FUNCTION": called}}
    )

    refused = tune(idle, "--testcase-folder", folder)
    splitter_only = tune(
        idle, "--testcase-folder", folder, "--function", "video-splitting", "--dry-run"
    )

    assert refused.returncode == 1
    assert f"calls '{called}', a published version" in refused.stderr
    assert splitter_only.returncode == 0
    assert "put back its 640 MB" in splitter_only.stderr
    assert look(idle, "video-splitting") == (640, {"project": "x"})
    assert idle.keys(idle.deployment.input_bucket) == []


@pytest.mark.parametrize("sizes", ["", "512,", "512,x", "64", "512 1024", "20000"])
def test_sizes_that_lambda_does_not_have_are_refused(bare: Place, folder: Path, sizes: str) -> None:
    done = tune(bare, "--testcase-folder", folder, "--memory", sizes)

    assert done.returncode == 2
    assert "use a whole number from 128 to 10240" in done.stderr


def test_what_is_not_deployed_is_not_tuned(bare: Place, folder: Path) -> None:
    place = Place(bare.aws, Deployment(bare.deployment.prefix, "nothing"))

    done = tune(place, "--testcase-folder", folder)

    assert done.returncode == 1
    assert "There is no function 'nothing-face-recognition' to tune" in done.stderr
    assert "deploy/deploy.py" in done.stderr


@pytest.fixture(scope="module")
def shared(sample_photos: Path) -> Iterator[Place]:
    """The pipeline with the CPU that its functions' memory buys."""
    people = make_people(sample_photos, BUILD / "samples" / "people")
    settings: dict[str, Any] = {"cpu_share": True, "max_concurrency": 1}
    with running(Deployment("tuned"), people, aws_settings=settings) as stack:
        yield Place(stack.aws, stack.deployment)


@pytest.mark.slow
def test_less_memory_takes_longer_where_it_buys_less_cpu(
    shared: Place, videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.mp4").write_bytes((videos / "test_02.mp4").read_bytes())
    options = ("--function", "video-splitting", "--memory", "256,1769", "--repeat", 3, "--json")

    done = tune(shared, "--testcase-folder", tmp_path, *options)

    assert done.returncode == 0, done.stderr
    assert "--cpu-share" not in done.stderr
    (table,) = json.loads(done.stdout)["functions"]
    small, large = table["settings"]
    assert (small["warm"], large["warm"], small["cold"]) == (3, 3, 3)
    assert small["warm_ms"] > 1.5 * large["warm_ms"]
    assert small["cold_ms"] > 1.5 * large["cold_ms"]
