"""What the deploy scripts plan, without AWS."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest

from deploy.parts.concurrency import Concurrency
from deploy.parts.s3_trigger import notification
from deploy.parts.targets import zip_code
from pipeline.settings import ROOT

ARN = "arn:aws:lambda:us-east-1:123456789012:function:video-splitting"


@pytest.mark.parametrize(
    ("limit", "unreserved", "own", "cap"),
    [
        (1000, 1000, 0, 100),  # the rest is for recognizers and the account's other functions
        (1000, 900, 0, 100),  # a second deployment
        (1000, 150, 0, 50),  # 100 must stay unreserved
        (150, 150, 0, 15),
        (105, 105, 0, 5),
        (1000, 501, 499, 499),  # an acceptable cap is kept
        (1000, 850, 50, 50),
        (1000, 100, 50, 50),
        (1000, 1000 - 600, 600, 100),  # but not one that lets splitters take half
        (1000, 300, 499, 100),  # or that does so now that other functions have reserved more
        (1000, 100, 0, None),
        (1000, 40, 0, None),
        (100, 100, 0, None),
        (10, 10, 0, None),  # a new account
    ],
)
def test_splitters_are_capped_so_that_recognizers_can_always_start(
    limit: int, unreserved: int, own: int, cap: int | None
) -> None:
    account = Concurrency(limit, unreserved, own)

    assert account.cap == cap
    if cap is not None:
        assert account.free - cap > cap  # as many recognizers can always start
        assert account.free - cap >= 100  # otherwise AWS refuses the cap


def test_the_same_code_gives_the_same_zip() -> None:
    first, second = (zip_code(ROOT / "video-splitting") for _ in range(2))

    assert first == second
    names = zipfile.ZipFile(io.BytesIO(first)).namelist()
    assert "handler.py" in names
    assert not [name for name in names if "/" in name]


def test_other_notifications_are_kept_and_ours_are_replaced() -> None:
    theirs = {"Id": "theirs", "LambdaFunctionArn": "arn:other", "Events": ["s3:ObjectRemoved:*"]}
    outdated = {"Id": "video-splitting:.gif", "LambdaFunctionArn": "arn:old", "Events": []}
    queue = {"Id": "q", "QueueArn": "arn:q", "Events": ["s3:ObjectCreated:*"]}
    current: dict[str, Any] = {
        "ResponseMetadata": {},
        "QueueConfigurations": [queue],
        "LambdaFunctionConfigurations": [outdated, theirs],
        "EventBridgeConfiguration": {},
    }

    merged = notification(current, ARN, "video-splitting")

    ours = merged["LambdaFunctionConfigurations"][1:]
    assert merged["LambdaFunctionConfigurations"][0] == theirs
    assert merged["QueueConfigurations"] == [queue]
    assert "EventBridgeConfiguration" in merged
    assert "ResponseMetadata" not in merged
    assert ours == [
        {
            "Id": "video-splitting:all",
            "LambdaFunctionArn": ARN,
            "Events": ["s3:ObjectCreated:*"],
        }
    ]
    assert notification(merged, ARN, "video-splitting") == merged
