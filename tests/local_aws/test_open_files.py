"""A server that may open few files is slower, but loses nothing."""

from __future__ import annotations

import resource
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection
from urllib.parse import urlsplit

import psutil

from local_aws import open_files
from local_aws.process import LocalAWS
from local_aws.server_settings import HEALTH
from tests.local_aws.conftest import Cloud

FILES, UPLOADS = 64, 60
COPIES = """
import boto3
s3 = boto3.client("s3")
def handler(event, context):
    key = event["Records"][0]["s3"]["object"]["key"]
    body = s3.get_object(Bucket="first", Key=key)["Body"].read()
    s3.put_object(Bucket="second", Key=key, Body=body)
"""


def test_sixty_uploads_at_once_are_all_answered_with_64_files() -> None:
    aws = LocalAWS(async_retry_delays="0.1", throttle_delays="0.1,0.5")
    aws._argv = ["sh", "-c", f'ulimit -n {FILES}; exec "$@"', "sh", *aws._argv]
    with aws:
        cloud = Cloud(aws)
        name, s3 = cloud.function(COPIES), cloud.client("s3", max_pool_connections=UPLOADS)
        for bucket in ("first", "second"):
            s3.create_bucket(Bucket=bucket)
        cloud.client("lambda").add_permission(
            FunctionName=name,
            StatementId="s3",
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
        )
        target = {"LambdaFunctionArn": cloud.arn(name), "Events": ["s3:ObjectCreated:*"]}
        s3.put_bucket_notification_configuration(
            Bucket="first", NotificationConfiguration={"LambdaFunctionConfigurations": [target]}
        )

        # GIVEN more clients that keep their connections open than files may be
        idle = [HTTPConnection(urlsplit(aws.endpoint).netloc, timeout=30) for _ in range(FILES)]
        for one in idle:
            one.request("GET", HEALTH)
            assert one.getresponse().read() == b"ok"

        # WHEN sixty others upload
        with ThreadPoolExecutor(UPLOADS) as pool:
            put = partial(s3.put_object, Bucket="first", Body=b"x" * 60_000)
            uploads = [pool.submit(put, Key=f"{number}") for number in range(UPLOADS)]
            for upload in uploads:
                upload.result()
        for one in idle:
            one.close()

        deadline = time.monotonic() + 120
        while len(s3.list_objects_v2(Bucket="second").get("Contents", [])) < UPLOADS:
            assert time.monotonic() < deadline, aws.log_path.read_text()
            time.sleep(0.2)
        log = aws.log_path.read_text()
        processes = psutil.Process(aws.pid).children(recursive=True)

    assert f"--max-concurrency is 1 instead of 4, because only {FILES} files" in log
    assert "Traceback" not in log
    assert not psutil.wait_procs(processes, timeout=5)[1]


def test_environments_that_find_no_file_wait_and_idle_ones_make_room() -> None:
    with LocalAWS(throttle_delays="0.1,0.5") as aws:
        cloud = Cloud(aws)
        code = "def handler(event, context):\n    return 1\n"
        first, second = cloud.function(code), cloud.function(code)
        cloud.invoke(first)
        server = psutil.Process(aws.pid)
        idle, before = server.children(recursive=True), server.rlimit(psutil.RLIMIT_NOFILE)

        # WHEN another function is invoked while almost all files are in use
        server.rlimit(psutil.RLIMIT_NOFILE, (server.num_fds() + 3, before[1]))
        cloud.client("lambda").invoke(FunctionName=second, InvocationType="Event", Payload=b"{}")

        # THEN the first function's environment ends, and the event waits if that was not enough
        assert not psutil.wait_procs(idle, timeout=10)[1]
        server.rlimit(psutil.RLIMIT_NOFILE, before)
        assert any(line.startswith("REPORT") for line in cloud.log_lines(second))
        assert "Traceback" not in aws.log_path.read_text()


def test_the_server_takes_as_many_files_as_it_may() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        assert open_files.most_environments() == 6
        assert open_files.most_connections() == 85

        open_files.raise_limit()

        assert open_files.limit() == min(hard, open_files.ENOUGH)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
