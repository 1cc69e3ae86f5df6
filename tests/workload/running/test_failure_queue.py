"""Reading the failure queue without removing messages."""

from __future__ import annotations

from tests.workload.conftest import Place, aws_of, fill_queue, wait_until
from workload.running.failure_queue import peek


def test_all_messages_of_a_long_queue_are_read_and_kept(bare: Place) -> None:
    sqs, queue = bare.client("sqs"), bare.deployment.failure_queue
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    keys = [f"{number:03d}.mp4" for number in range(120)]
    fill_queue(bare, keys)

    def all_are_visible() -> bool:
        name = "ApproximateNumberOfMessages"
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
        return int(answer["Attributes"][name]) == len(keys)

    for _ in range(2):
        wait_until(all_are_visible)
        assert sorted({found.key for found in peek(aws_of(bare), queue)}) == keys
