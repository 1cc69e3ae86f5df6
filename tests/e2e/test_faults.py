"""Each fault at each step of a deployed pipeline: no video is lost or gets another's name."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import pytest

from local_aws.process_tree import members
from pipeline.keys import output_key
from pipeline.settings import Deployment, Function
from samples.stack import Stack, client_side, running
from tests.e2e.conftest import AWS_SETTINGS, eventually
from tests.faults import table
from tests.faults.proxy import Request, breaking
from tests.faults.table import GRID, MEANWHILE, QUICK, RIGHT, Cell, Event

Client = Callable[[str], Any]

# Neighbors in the grid show different people.
PEOPLE = {
    "test_00.mp4": "Barack Obama",
    "test_02.mp4": "Joe Biden",
    "test_03.mp4": "Eileen Collins",
}
CELLS: list[Cell | Event] = [*GRID, *MEANWHILE]
KEY = re.compile(r"faults/(\d{3})/v")
# Short limits, so that silence is given up soon. Lambda itself leaves each function more time.
PATIENCE = {
    "video-splitting": {"TIMEOUT_S": "12", "FFMPEG_TIMEOUT_S": "9", "RECOGNITION_TIMEOUT_S": "10"},
    "face-recognition": {"TIMEOUT_S": "8"},
}
TIMEOUTS_S = {"video-splitting": 40, "face-recognition": 10}


class Faults:
    """Breaks the requests about the grid's videos, and knows which events have ended well."""

    def __init__(self, stack: Stack) -> None:
        """Break nothing yet."""
        names = stack.deployment
        self._buckets = (names.input_bucket, names.stage_1_bucket, names.output_bucket)
        self._lock = threading.Lock()
        self._met: dict[int, int] = {}
        self._answered: Counter[int] = Counter()  # calls whose event has not ended
        self._last_heads: set[str] = set()
        self._heard: dict[int, float] = {}
        self._held: dict[int, str] = {}
        # What to do when a step of an event's video is reached: called with its number.
        self.happen: dict[str, Callable[[int], None]] = {}
        self.ended: Counter[int] = Counter()

    def choose(self, request: Request) -> str | None:
        """The fault that the request's video is to meet at this step, if any."""
        number, step = self._place(request)
        if not step or step != CELLS[number].step:
            return None
        with self._lock:
            self._met[number] = self._met.get(number, 0) + 1
        cell = CELLS[number]
        if isinstance(cell, Cell):
            return cell.fault if self._met[number] <= cell.times else None
        # Attempts of one call have the same ID; ffmpeg's have none.
        call = request.headers.get("amz-sdk-invocation-id") or str(id(request))
        if self._met[number] == 1:
            self._held[number] = call
            self.happen[cell.kind](number)
        if cell.kind == table.OVERWRITTEN and call == self._held[number]:
            self._hold(number)
        return None

    def _hold(self, number: int) -> None:
        """Keep a request of the old video's event until the new video's has ended."""
        deadline = time.monotonic() + 5
        while not self.ended[number] and time.monotonic() < deadline:
            time.sleep(0.02)

    def met(self, number: int) -> int:
        """How often the step has been reached."""
        return self._met.get(number, 0)

    def is_quiet(self, number: int) -> bool:
        """Whether no request about the video has come for two seconds."""
        return time.monotonic() - self._heard.get(number, 0) > 2

    def heed(self, request: Request, answer: bytes) -> None:
        """Note that a call was answered, or that an event has ended."""
        number, step = self._place(request)
        if step == table.INVOKE:
            head = answer.partition(b"\r\n\r\n")[0].lower()
            with self._lock:
                self._answered[number] += b" 200 " in head and b"function-error" not in head
        elif step == table.LAST_HEAD:
            self.ended[number] += 1

    def _place(self, request: Request) -> tuple[int, str]:
        """The number of the request's cell, and its step; -1 if it is about something else."""
        text = unquote(request.path)
        found = KEY.search(text) or KEY.search(request.body.decode("latin-1"))
        if not found:
            return -1, ""
        number, method = int(found[1]), request.command
        self._heard[number] = time.monotonic()
        if method == "POST":
            return number, table.INVOKE
        if "list-type" in text:
            return number, table.LIST_LEFT
        video, frame, _ = self._buckets
        bucket = text.split("/")[1]
        if (method, bucket) == ("HEAD", video):
            return number, self._kind_of_head(number, request.headers["amz-sdk-invocation-id"])
        if bucket == video:
            return number, table.GET_VIDEO
        if bucket == frame:
            steps = {"HEAD": table.HEAD_KEPT, "PUT": table.PUT_FRAME, "GET": table.GET_FRAME}
        else:
            steps = {"HEAD": table.HEAD_OUTPUT, "PUT": table.PUT_OUTPUT}
        return number, steps.get(method, "") if ".json" not in text else ""

    def _kind_of_head(self, number: int, call: str) -> str:
        """The first HEAD of a video after an answer is its event's last; so are its retries."""
        with self._lock:
            # A request is looked at twice: before it is forwarded, and when it is answered.
            if call not in self._last_heads and self._answered[number] > 0:
                self._answered[number] -= 1
                self._last_heads.add(call)
            return table.LAST_HEAD if call in self._last_heads else table.HEAD_VIDEO


class Run:
    """The chosen cells' videos, all uploaded at once, and what has become of them so far."""

    def __init__(self, stack: Stack, client: Client, faults: Faults) -> None:
        """Upload nothing yet."""
        self.names, self.faults = stack.deployment, faults
        self.s3, self._sqs = client("s3"), client("sqs")
        self._queue = self._sqs.get_queue_url(QueueName=self.names.failure_queue)["QueueUrl"]
        self._failures: dict[int, dict[str, Any]] = {}

    @staticmethod
    def key(number: int) -> str:
        """The key of a cell's video."""
        return f"faults/{number:03d}/v.mp4"

    @staticmethod
    def sample(number: int) -> tuple[str, str]:
        """The sample video of a cell, and whom it shows."""
        return list(PEOPLE.items())[number % len(PEOPLE)]

    def failure(self, number: int) -> dict[str, Any] | None:
        """The failure queue's record of a cell's video, if there is one."""
        while found := self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in found:
                record = json.loads(message["Body"])
                key = record["requestPayload"]["Records"][0]["s3"]["object"]["key"]
                about = KEY.match(unquote(key))
                assert about, record
                self._failures[int(about[1])] = record
                receipt = message["ReceiptHandle"]
                self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=receipt)
        return self._failures.get(number)

    def text(self, number: int) -> str | None:
        """The only text of a cell's video; None if there is none."""
        bucket, prefix = self.names.output_bucket, f"faults/{number:03d}/"
        found = self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        if not found:
            return None
        assert [item["Key"] for item in found] == [output_key(self.key(number))]
        body: bytes = self.s3.get_object(Bucket=bucket, Key=found[0]["Key"])["Body"].read()
        return body.decode()


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, people: Path) -> Iterator[Stack]:
    """The shared pipeline; for the whole grid, one whose functions can wait in greater numbers."""
    if len(numbers(request)) in range(1, len(QUICK) + 1):
        yield request.getfixturevalue("stack")
        return
    settings = {**AWS_SETTINGS, "max_concurrency": 12}
    with running(Deployment("faults"), people, aws_settings=settings) as own:
        yield own


@pytest.fixture(scope="module")
def client(stack: Stack) -> Client:
    """Makes boto3 clients with the user's credentials."""
    return cast("Client", client_side(stack.aws).client)


def numbers(request: pytest.FixtureRequest) -> list[int]:
    """The numbers of the cells that were chosen for this session."""
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    found = [call.params.get("number") for call in calls if call]
    return [number for number in found if number is not None and number < len(GRID)]


@pytest.fixture(scope="module")
def impatient(stack: Stack, client: Client) -> Iterator[Faults]:
    """The deployed functions with short limits and faults between them and everything else."""
    functions = client("lambda")
    faults = Faults(stack)

    def configure(function: Function, timeout_s: int, variables: dict[str, str]) -> None:
        functions.update_function_configuration(
            FunctionName=function.name, Timeout=timeout_s, Environment={"Variables": variables}
        )
        functions.get_waiter("function_updated_v2").wait(FunctionName=function.name)

    with breaking(stack.aws.endpoint, faults.choose, faults.heed) as proxy:
        through = {"AWS_ENDPOINT_URL_S3": proxy.url, "AWS_ENDPOINT_URL_LAMBDA": proxy.url}
        before = []
        for function in stack.deployment.functions:
            config = functions.get_function_configuration(FunctionName=function.name)
            own = config["Environment"]["Variables"]
            before.append((function, own))
            variables = {**own, **PATIENCE[function.key], **through}
            configure(function, TIMEOUTS_S[function.key], variables)
        yield faults
        for function, variables in before:
            configure(function, function.timeout_s, variables)


@pytest.fixture(scope="module")
def run(
    impatient: Faults,
    stack: Stack,
    client: Client,
    videos: Path,
    request: pytest.FixtureRequest,
) -> Run:
    """The videos of all cells that were chosen for this session, uploaded at once."""
    made = Run(stack, client, impatient)
    for number in numbers(request):
        path = videos / made.sample(number)[0]
        made.s3.upload_file(str(path), made.names.input_bucket, made.key(number))
    return made


def numbered(number: int) -> Any:
    """The parameter of a cell."""
    cell = CELLS[number]
    is_quick = isinstance(cell, Cell) and cell.is_quick
    return pytest.param(number, id=cell.name, marks=[] if is_quick else [pytest.mark.slow])


@pytest.mark.parametrize("number", [numbered(number) for number in range(len(GRID))])
def test_every_video_is_answered_right_or_in_the_failure_queue(
    stack: Stack, run: Run, number: int
) -> None:
    cell, key = GRID[number], run.key(number)

    eventually(lambda: run.faults.ended[number] or run.failure(number), 300)

    failure, text = run.failure(number), run.text(number)
    assert run.faults.met(number)
    assert text in (None, run.sample(number)[1])
    if cell.outcome == RIGHT:
        assert failure is None, failure["responsePayload"]
        assert text
        return
    assert failure is not None, "answered, but a failure was expected"
    assert failure["responsePayload"]["errorType"] == cell.outcome
    message = failure["responsePayload"]["errorMessage"]
    assert f"s3://{stack.deployment.input_bucket}/{key}" in message
    assert set(KEY.findall(message)) == {f"{number:03d}"}
    if failure["requestContext"]["condition"] != "PermanentFailure":
        assert failure["requestContext"]["approximateInvokeCount"] == 3
    else:
        assert "ry again" not in message


@pytest.fixture
def happenings(run: Run, stack: Stack, client: Client, videos: Path) -> None:
    """Give the proxy what happens in each kind of event."""
    s3, functions, names = client("s3"), client("lambda"), stack.deployment

    def overwrite(number: int) -> None:
        path = videos / run.sample(number + 1)[0]
        s3.upload_file(str(path), names.input_bucket, run.key(number))

    def delete(number: int) -> None:
        s3.delete_object(Bucket=names.input_bucket, Key=run.key(number))

    def repeat(number: int) -> None:
        about = {"bucket": {"name": names.input_bucket}, "object": {"key": run.key(number)}}
        event = {"Records": [{"eventSource": "aws:s3", "s3": about}]}
        functions.invoke(
            FunctionName=names.splitter.name, InvocationType="Event", Payload=json.dumps(event)
        )

    run.faults.happen = {
        table.OVERWRITTEN: overwrite,
        table.DELETED: delete,
        table.REPEATED: repeat,
        table.SPLITTER_KILLED: lambda _: send(stack, names.splitter, signal.SIGKILL),
        table.RECOGNIZER_KILLED: lambda _: send(stack, names.recognizer, signal.SIGKILL),
        table.RECOGNIZER_STOPPED: lambda _: send(stack, names.recognizer, signal.SIGSTOP),
    }


def send(stack: Stack, function: Function, what: signal.Signals) -> None:
    """Send a signal to every process of a function's environments."""
    mark = f"AWS_LAMBDA_FUNCTION_NAME={function.name}".encode()
    for pid in members(stack.aws.pid)[1:]:
        try:
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                os.kill(pid, what)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile


@pytest.mark.slow
@pytest.mark.usefixtures("happenings")
@pytest.mark.parametrize(
    "number", [numbered(number) for number in range(len(GRID), len(GRID) + len(MEANWHILE))]
)
def test_what_happens_meanwhile_does_no_harm(run: Run, videos: Path, number: int) -> None:
    # One after the other: what is killed is everybody's.
    event, key = CELLS[number], run.key(number)
    assert isinstance(event, Event)
    name, person = run.sample(number)
    run.s3.upload_file(str(videos / name), run.names.input_bucket, key)
    if event.kind == table.OVERWRITTEN:
        person = run.sample(number + 1)[1]

    if event.outcome == RIGHT:
        wanted = 2 if event.kind in (table.OVERWRITTEN, table.REPEATED) else 1
        eventually(
            lambda: (
                run.faults.ended[number] >= wanted
                and run.text(number) == person
                and run.faults.is_quiet(number)
            ),
            60,
        )
        assert run.failure(number) is None
        bucket, frame = run.names.stage_1_bucket, key.replace(".mp4", ".jpg")
        made_from = run.s3.head_object(Bucket=bucket, Key=frame)["Metadata"]["source-etag"]
        if event.kind != table.DELETED:
            head = run.s3.head_object(Bucket=run.names.input_bucket, Key=key)
            assert head["ETag"].strip('"') == made_from
    else:
        failure = eventually(lambda: run.failure(number), 60)
        assert failure["responsePayload"]["errorType"] == event.outcome
        assert f"s3://{run.names.input_bucket}/{key}" in failure["responsePayload"]["errorMessage"]
        assert run.text(number) is None
    assert run.faults.met(number)
