"""Reading the failure queue without removing messages."""

from __future__ import annotations

import time

from tests.workload.conftest import Place, aws_of, fill_queue
from workload.running.failure_queue import PEEK_S, peek


def test_all_messages_of_a_long_queue_are_read_and_kept(bare: Place) -> None:
    queue = bare.deployment.failure_queue
    keys = [f"{number:03d}.mp4" for number in range(120)]
    fill_queue(bare, keys)

    for _ in range(2):
        assert sorted({found.key for found in peek(aws_of(bare), queue)}) == keys
        time.sleep(PEEK_S + len(keys) // 50)
