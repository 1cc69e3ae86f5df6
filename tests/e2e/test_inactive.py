"""The first video after Lambda has let the recognizer go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from samples.stack import Stack
from tests.local_aws.test_inactive import let_go


def test_the_splitter_waits_until_an_idle_recognizer_is_ready(
    stack: Stack, client: Callable[[str], Any], s3: Any, answer: Callable[..., Any], videos: Path
) -> None:
    def starts() -> int:
        events = client("logs").filter_log_events(logGroupName=stack.deployment.splitter.log_group)
        return sum(event["message"].startswith("START ") for event in events["events"])

    def state() -> str:
        function = client("lambda").get_function(FunctionName=stack.deployment.recognizer.name)
        return str(function["Configuration"]["State"])

    before = starts()
    assert let_go(stack.aws.endpoint, stack.deployment.recognizer.name, seconds=1) == 204
    assert state() == "Inactive"

    s3.upload_file(str(videos / "test_02.mp4"), stack.deployment.input_bucket, "after_weeks.mp4")

    assert answer(stack.deployment.output_bucket, "after_weeks.txt")[0] == "Joe Biden"
    assert state() == "Active"
    # THEN the splitter waited itself: the event was not tried again
    events = client("logs").filter_log_events(logGroupName=stack.deployment.splitter.log_group)
    assert not [e for e in events["events"] if "ResourceConflict" in e["message"]]
    assert starts() <= before + 1

    names = stack.deployment  # other tests count the objects
    s3.delete_object(Bucket=names.input_bucket, Key="after_weeks.mp4")
    s3.delete_object(Bucket=names.stage_1_bucket, Key="after_weeks.jpg")
    s3.delete_object(Bucket=names.output_bucket, Key="after_weeks.txt")
