"""Random uploads, overwrites, deletions and faults; at the end every video is accounted for."""

from __future__ import annotations

import json
import time
from itertools import count

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.e2e.conftest import run_failures
from tests.e2e.test_permissions import STOPS
from tests.soak.world import BROKEN, LOOKED_AT_TWICE, REPORTS, VIDEOS, WHOLE_POLICY, World

# Keys whose objects lie side by side.
KEYS = ("a.mp4", "a.mov", "A.Mp4", "ü b+c.mp4", "a/output-00.mp4")
# What can be taken away; without the right to write logs, everything else goes on.
RIGHTS = [*STOPS, ("video-splitting", WHOLE_POLICY), ("face-recognition", WHOLE_POLICY)]
RIGHTS.remove(("face-recognition", "ReadGallery"))  # the gallery is in the image
UNDER_WAY_S = 120.0  # an event that is older has ended
QUIET_S = 8.0  # without an invocation's end, nothing is under way any more
SETTLE_S = 240.0
FOLDERS = count(1)

keys = st.sampled_from(KEYS)


class Machine(RuleBasedStateMachine):
    """Each key's last version is answered right or in the queue, and never has another's name."""

    world: World

    def __init__(self) -> None:
        """Use a new folder."""
        super().__init__()
        self.folder = f"run-{next(FOLDERS)}/"
        self.last: dict[str, str] = {}  # the ETag of each key's last version
        self.earlier: list[tuple[str, str]] = []  # versions that were there
        self.taken: str | None = None
        self.is_unable_to_report = False
        self.touched: dict[str, float] = {}  # when an event of the key was last caused
        self.may_be_lost: set[str] = set()  # keys with an event that nobody could report
        self.is_settled = False
        self.steps_since_redrive = 0
        self.world.figures["runs"] += 1

    def _has(self, key: str, etag: str) -> None:
        self.may_be_lost.discard(key)  # a version whose own event is still to come
        self.last[key] = etag
        self.earlier.append((key, etag))
        self._touch(key)

    def _touch(self, *keys: str) -> None:
        self.is_settled = False
        self.touched.update(dict.fromkeys(keys, time.monotonic()))
        if self.is_unable_to_report:
            self.may_be_lost.update(keys)

    @initialize(video=st.sampled_from(VIDEOS))
    def begin(self, video: str) -> None:
        """There is always one video."""
        self.upload(KEYS[0], video)

    @rule(key=keys, video=st.sampled_from(VIDEOS))
    def upload(self, key: str, video: str) -> None:
        """Upload a video, over another if the key has one."""
        self.world.figures["uploads"] += 1
        self.world.figures["of them overwrites"] += self.folder + key in self.last
        self._has(self.folder + key, self.world.upload(self.folder + key, video))

    @rule(video=st.sampled_from(VIDEOS))
    def upload_everywhere(self, video: str) -> None:
        """Upload under all keys at once."""
        for key in KEYS:
            self.upload(key, video)

    @rule(
        key=keys,
        slow=st.sampled_from(LOOKED_AT_TWICE),
        quick=st.sampled_from(VIDEOS),
        seconds=st.sampled_from((0.1, 0.3, 0.6)),
    )
    def overwrite_while_it_is_split(self, key: str, slow: str, quick: str, seconds: float) -> None:
        """Upload a video over one whose event ends later, while nothing else goes on."""
        self.look()
        self.upload(key, slow)
        time.sleep(seconds)
        self.upload(key, quick)
        self.look()

    @rule()
    def look(self) -> None:
        """Give back what was taken, wait until everything has settled, and check it."""
        self.give_the_right_back()
        if self.is_settled:
            return
        self.world.figures["looks at what has settled"] += 1
        self._settle()
        self._check_frames()
        self.is_settled = True

    @rule(key=keys, kind=st.sampled_from(sorted(BROKEN)))
    def upload_broken(self, key: str, kind: str) -> None:
        """Upload what is not a video."""
        self.world.figures["broken uploads"] += 1
        self._has(self.folder + key, self.world.upload_broken(self.folder + key, kind))

    @rule(key=keys)
    def delete(self, key: str) -> None:
        """Delete a video, whatever is being done with it."""
        if self.last.pop(self.folder + key, None):
            self.world.figures["deletions"] += 1
            self.world.delete(self.folder + key)

    @rule(number=st.integers(0, 9))
    def send_an_event_again(self, number: int) -> None:
        """S3 delivers events at least once and in any order."""
        self.world.figures["events sent again"] += 1
        key, etag = self.earlier[number % len(self.earlier)]
        self.world.send_event(key, etag)
        self._touch(key)

    @rule(is_splitter=st.booleans())
    def kill(self, is_splitter: bool) -> None:
        """Kill a function's environments."""
        deployment = self.world.deployment
        function = deployment.splitter if is_splitter else deployment.recognizer
        self.world.figures["processes killed"] += self.world.kill(function)

    @precondition(lambda self: self.taken is None)
    @rule(right=st.sampled_from(RIGHTS))
    def take_a_right(self, right: tuple[str, str]) -> None:
        """Take a statement of a role's policy away, or all of it."""
        function, sid = right
        deployment = self.world.deployment
        is_splitter = function == deployment.splitter.key
        role = (deployment.splitter if is_splitter else deployment.recognizer).role
        self.world.figures["rights taken away"] += 1
        self.world.take_right(role, sid)
        self.taken = sid
        if is_splitter and sid in REPORTS:
            self.is_unable_to_report = True
            before = time.monotonic() - UNDER_WAY_S
            self.may_be_lost |= {key for key, when in self.touched.items() if when > before}

    @precondition(lambda self: self.taken is None)
    @rule(key=keys, video=st.sampled_from(VIDEOS), seconds=st.sampled_from((0.2, 2.0)))
    def upload_without_the_policy(self, key: str, video: str, seconds: float) -> None:
        """Upload while the splitter can neither answer nor report, perhaps for all its attempts."""
        self.take_a_right(("video-splitting", WHOLE_POLICY))
        self.upload(key, video)
        time.sleep(seconds)
        self.give_the_right_back()

    @precondition(lambda self: self.taken is not None)
    @rule()
    def give_the_right_back(self) -> None:
        """Give it back."""
        self.world.give_rights_back()
        self.taken, self.is_unable_to_report = None, False

    @rule(frames=st.sampled_from(("auto", "1", "3")))
    def deploy_another_setting(self, frames: str) -> None:
        """Take another number of frames of each video from now on."""
        self.world.figures["settings deployed"] += 1
        self.world.set_frames(frames)

    @precondition(lambda self: self.steps_since_redrive > 4)
    @rule(is_missing=st.booleans())
    def redrive(self, is_missing: bool) -> None:
        """Send the messages' events again, or what is unanswered, whatever is still under way."""
        self.steps_since_redrive = 0
        self._touch(*self.last)
        if is_missing:
            self.world.figures["redrives of what is missing"] += 1
            self._redrive_missing()
        else:
            self.world.figures["redrives"] += 1
            assert run_failures(self.world.stack, "redrive").exit_code == 0

    def _redrive_missing(self) -> None:
        words = ("redrive", "--missing", "--yes", "--older-than", "0")
        done = run_failures(self.world.stack, *words)
        assert done.exit_code == 0, done.stderr

    @rule(seconds=st.sampled_from((0.1, 0.5, 2.0)))
    def wait(self, seconds: float) -> None:
        """Let things happen."""
        time.sleep(seconds)

    @invariant()
    def nobody_has_anothers_name(self) -> None:
        """A text says what the version says that it names."""
        self.steps_since_redrive += 1
        self.world.measure()
        for key in self.world.objects(self.world.deployment.output_bucket, self.folder):
            found = self.world.text(key)
            if found:
                text, etag = found
                assert etag in self.world.names, f"{key} is of {etag}, which was not uploaded"
                expected = self.world.names[etag]
                assert text == expected, f"{key} says {text}, and its version {expected}"

    def _open(self) -> list[str]:
        """The keys whose last version is neither answered right nor in the queue."""
        reported = self.world.reported()
        return [
            key
            for key, etag in sorted(self.last.items())
            if (key, etag) not in reported
            and self.world.answer(key) != (self.world.names[etag], etag)
        ]

    def teardown(self) -> None:
        """Wait until everything has settled, and look."""
        self.look()
        self.world.figures["answered"] += len(self.last) - self._in_queue()
        self.world.figures["in the queue"] += self._in_queue()
        self.world.set_frames("auto")
        self.world.clear(self.folder)

    def _in_queue(self) -> int:
        return len(self.world.reported() & set(self.last.items()))

    def _settle(self) -> None:
        """Wait until every video is accounted for.

        Only a splitter that could not report may have lost one. Then `missing` names it.
        """
        deadline, since = time.monotonic() + SETTLE_S, time.monotonic()
        last: object = None
        while True:
            self.nobody_has_anothers_name()
            still = self._open()
            now = (still, self.world.ended())
            if now != last:
                last, since = now, time.monotonic()
            quiet_s = time.monotonic() - since
            if not still and quiet_s > 1:
                return
            if still and quiet_s > QUIET_S:
                assert self.may_be_lost >= set(still), f"neither answer nor message: {still}"
                listed = self._missing()
                assert listed == still, f"missing lists {listed}, but it is {still}"
                self.world.figures["lost, then found and answered"] += len(still)
                self._redrive_missing()
                since = time.monotonic()
            assert time.monotonic() < deadline, f"not settled after {SETTLE_S:g} s: {still}"
            time.sleep(0.2)

    def _missing(self) -> list[str]:
        done = run_failures(self.world.stack, "missing", "--json", "--older-than", "0")
        found = [json.loads(line)["key"] for line in done.stdout.splitlines()]
        return sorted(key for key in found if key.startswith(self.folder))

    def _check_frames(self) -> None:
        """The frames of an answered video are its last version's."""
        for key, etag in self.last.items():
            if self.world.answer(key) == (self.world.names[etag], etag):
                frames = self.world.frames(key)
                assert set(frames.values()) == {etag}, f"{key} is {etag}, its frames: {frames}"
