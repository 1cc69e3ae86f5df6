"""FRAMES=auto and ANSWERS: the second look, what is kept of it, retries and details."""

from __future__ import annotations

import hashlib
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import video_errors


@pytest.fixture
def auto(world: Any, clip: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The world with FRAMES=auto and a video of 2 s, whose frames are at 0, 0.4, 0.8, ..."""
    monkeypatch.setenv("FRAMES", "auto")
    world.put("a.mp4", clip)
    return world


def steps(capsys: Any, step: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if line["step"] == step]


def state(world: Any) -> list[Any]:
    """Everything in stage-1 and the output bucket, with metadata."""
    return [
        [(key, world.metadata(bucket, key)) for key in world.keys(bucket)]
        for bucket in (world.stage, world.output)
    ]


def test_a_name_in_the_first_frame_is_the_answer(auto: Any, callee: Any, capsys: Any) -> None:
    answer = auto.handle("a.mp4")
    assert callee.payloads == [
        {"bucket_name": auto.stage, "image_file_name": "a.jpg", "write": "known"}
    ]
    assert auto.text("a.txt") == "Ann"
    assert (auto.keys(auto.stage), auto.keys(auto.output)) == (["a.jpg"], ["a.txt"])
    assert answer["videos"][0]["looks"] == 1
    (line,) = steps(capsys, "invoke")
    assert (line["look"], line["frames"]) == (1, 1)


@pytest.mark.parametrize("first", ["stranger", "nobody"])
def test_a_second_look_finds_the_name(auto: Any, callee: Any, capsys: Any, first: str) -> None:
    # GIVEN a video whose first frame gives no name, and Bob in three later ones, best at 1.2 s
    stranger = [callee.face("Unknown", 0.8, "Bob")]
    callee.faces = {0.0: stranger if first == "stranger" else [], 0.4: stranger}
    for moment, distance in ((0.8, 0.6), (1.2, 0.5), (1.6, 0.61)):
        callee.faces[moment] = [callee.face("Bob", distance)]
    # WHEN
    answer = auto.handle("a.mp4")
    # THEN one more call has the other frames, and writes nothing
    extra = [f"a/output-0{index}.jpg" for index in range(1, 5)]
    calls = sorted(callee.payloads[1:], key=lambda payload: payload["image_file_names"])
    assert calls == [
        {"bucket_name": auto.stage, "image_file_names": some} for some in (extra[:3], extra[3:])
    ]  # the tests' splitter sends three frames per call, side by side
    assert auto.text("a.txt") == "Bob"
    # AND the one frame that is left is the one of the answer, and the text names it
    assert (auto.keys(auto.stage), auto.keys(auto.output)) == (["a.jpg"], ["a.txt"])
    head = auto.s3.head_object(Bucket=auto.stage, Key="a.jpg")
    assert head["Metadata"]["frame-time"] == "1.2"
    text = auto.metadata(auto.output, "a.txt")
    assert text["frame-etag"] == head["ETag"].strip('"')
    assert (text["distance"], text["frames"], text["votes"], text["answers"]) == (
        *("0.5", "5", "3"),
        "txt",
    )
    assert json.loads(text["people"]) == [["Bob", 3, 0.8, 1.6, 0.5]]
    assert "nearest" not in text
    assert (answer["videos"][0]["looks"], answer["videos"][0]["frames"]) == (2, 5)
    assert [line["look"] for line in steps(capsys, "invoke")] == [1, 2]


def test_a_second_event_changes_nothing(
    auto: Any, callee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN answers from a second look: a name, strangers only, and nobody
    for faces in ([callee.face("Bob", 0.3)], [callee.face("Unknown", 0.7)], []):
        callee.faces = {0.0: [], 0.4: [], 0.8: faces, 1.2: faces, 1.6: []}
        callee.settings["gallery"] = f"gallery of {len(str(faces))}"
        auto.handle("a.mp4")
        auto.keep_versions()
        before, calls = auto.versions(auto.output) + auto.versions(auto.stage), len(callee.payloads)
        # WHEN the event comes again, THEN nothing is taken, and nothing is written
        with monkeypatch.context() as broken:
            broken.setenv("FFMPEG", "/nowhere")
            auto.handle("a.mp4")
        assert auto.versions(auto.output) + auto.versions(auto.stage) == before
        assert len(callee.payloads) == calls + 1


def test_strangers_only(auto: Any, callee: Any) -> None:
    callee.faces = {moment: [] for moment in (0.0, 0.4, 1.2, 1.6)}
    callee.faces[0.8] = [callee.face("Unknown", 0.9, "Zoë"), callee.face("Unknown", 0.7, "Bob")]
    auto.handle("a.mp4")
    assert auto.text("a.txt") == "Unknown"
    text = auto.metadata(auto.output, "a.txt")
    assert (text["nearest"], text["distance"]) == ("Bob", "0.7")
    assert auto.metadata(auto.stage, "a.jpg")["frame-time"] == "0.8"


def test_a_weak_hit_in_one_frame_of_several_with_faces_is_no_name(auto: Any, callee: Any) -> None:
    stranger = [callee.face("Unknown", 0.7)]
    callee.faces = dict.fromkeys((0.0, 0.4, 1.2, 1.6), stranger)
    callee.faces[0.8] = [callee.face("Bob", 0.63)]
    auto.handle("a.mp4")
    assert auto.text("a.txt") == "Unknown"
    assert auto.metadata(auto.stage, "a.jpg")["frame-time"] == "0"


def test_a_video_of_one_picture_has_no_second_look(
    auto: Any, callee: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make("one.mp4", "-pix_fmt", "yuv420p", source="testsrc2=s=64x64:r=10:d=0.1")
    auto.put("one.mp4", one)
    callee.faces = {0.0: []}
    answer = auto.handle("one.mp4")
    assert (answer["videos"][0]["looks"], auto.text("one.txt")) == (1, "No face")
    assert len(callee.payloads) == 1


def test_without_time_for_another_call_the_first_look_is_the_answer(auto: Any, callee: Any) -> None:
    # GIVEN 16.5 s, of which a call needs up to 5 + 5 and the rest 5; the first call takes one
    callee.faces = {0.0: [callee.face("Unknown", 0.7)], 0.8: [callee.face("Bob", 0.1)]}
    answer = auto.handle("a.mp4", seconds=lambda: 16.5 - len(callee.payloads))
    assert (answer["videos"][0]["looks"], auto.text("a.txt")) == (1, "Unknown")
    assert len(callee.payloads) == 1


class Ending:
    """The client of a function that ends once it has made as many writes as are `left`."""

    def __init__(self, client: Any, left: list[int]) -> None:
        self._client, self._left = client, left

    def __getattr__(self, name: str) -> Any:
        if name in {"put_object", "delete_object"}:
            self._left[0] -= 1
            if self._left[0] < 0:
                raise OSError("the environment ends here")
        return getattr(self._client, name)


@pytest.mark.slow
def test_a_retry_after_each_write_ends_right(
    auto: Any, callee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event may end at any time; the retry must not take a half-finished answer for one."""
    callee.faces = {0.0: [], 0.4: [], 1.2: [callee.face("Ann", 0.3)], 1.6: []}
    # the frame of the answer shows two people: alone, it would name the other one
    callee.faces[0.8] = [callee.face("Cid", 0.55), callee.face("Ann", 0.2)]
    auto.handle("a.mp4")
    expected = state(auto)
    assert auto.text("a.txt") == "Ann"
    for survived in range(9):
        for bucket in (auto.stage, auto.output):
            for key in auto.keys(bucket):
                auto.s3.delete_object(Bucket=bucket, Key=key)
        with monkeypatch.context() as ended:
            ended.setattr(auto.module, "s3", partial(Ending, auto.module.s3(), [survived]))
            with pytest.raises(OSError, match="ends here"):
                auto.handle("a.mp4")
        auto.handle("a.mp4")
        assert state(auto) == expected, f"after {survived} writes"


class Watching:
    """A client that notes which objects there are whenever a text is written."""

    def __init__(self, world: Any, seen: list[list[str]]) -> None:
        self._world, self._client, self._seen = world, world.s3, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_object(self, **place: Any) -> Any:
        done = self._client.put_object(**place)
        if place["Key"].endswith(".txt"):
            stage, output = self._world.stage, self._world.output
            self._seen.append(self._world.keys(stage) + self._world.keys(output))
        return done


SWITCHES = [("auto", "3"), ("3", "auto"), ("1", "3"), ("5", "3"), ("5", "1"), ("auto", "auto")]


@pytest.mark.parametrize(("earlier", "wanted"), SWITCHES)
@pytest.mark.parametrize("looks", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_when_the_text_appears_nothing_else_is_left(
    auto: Any, callee: Any, monkeypatch: pytest.MonkeyPatch, earlier: str, wanted: str, looks: int
) -> None:
    """Clients count objects as soon as they see the text."""
    # GIVEN an answer of an earlier version, with its frames and details, under another setting
    callee.faces = {0.0: []} if looks == 2 else {}
    with monkeypatch.context() as older:
        older.setenv("FRAMES", earlier)
        older.setenv("ANSWERS", "txt+json")
        auto.handle("a.mp4")
    assert "a.json" in auto.keys(auto.output)
    # AND what an event that ended halfway left
    source = auto.metadata(auto.output, "a.txt")
    auto.s3.put_object(Bucket=auto.stage, Key="a/output-07.jpg", Body=b"x", Metadata=source)
    auto.put("a.mp4", auto.s3.get_object(Bucket=auto.input, Key="a.mp4")["Body"].read() + b"\0" * 8)
    # WHEN the new version is answered
    seen: list[list[str]] = []
    callee.s3 = Watching(auto, seen)
    monkeypatch.setattr(auto.module, "s3", lambda: callee.s3)
    monkeypatch.setenv("FRAMES", wanted)
    auto.handle("a.mp4")
    # THEN there are only its own objects when its text is written, and afterwards
    frames = [f"a/output-0{index}.jpg" for index in range(3)] if wanted == "3" else ["a.jpg"]
    assert seen == [[*frames, "a.txt"]]
    assert auto.keys(auto.stage) + auto.keys(auto.output) == [*frames, "a.txt"]


@pytest.mark.parametrize(("earlier", "wanted"), SWITCHES)
def test_the_next_event_of_a_video_follows_new_settings(
    auto: Any, callee: Any, monkeypatch: pytest.MonkeyPatch, earlier: str, wanted: str
) -> None:
    # GIVEN a first frame with two people, of whom the smaller one is in all frames
    callee.faces[0.0] = [callee.face("Ann", 0.5), callee.face("Bob", 0.3)]
    callee.faces |= {moment: [callee.face("Bob", 0.4)] for moment in (0.4, 0.667, 0.8, 1.2, 1.333)}
    callee.faces[1.6] = [callee.face("Bob", 0.4)]
    with monkeypatch.context() as older:
        older.setenv("FRAMES", earlier)
        older.setenv("ANSWERS", "txt+json")
        auto.handle("a.mp4")
    monkeypatch.setenv("FRAMES", wanted)
    auto.handle("a.mp4")
    frames = [f"a/output-0{index}.jpg" for index in range(3)] if wanted == "3" else ["a.jpg"]
    assert auto.keys(auto.stage) + auto.keys(auto.output) == [*frames, "a.txt"]
    assert auto.text("a.txt") == ("Bob" if wanted == "3" else "Ann")
    assert auto.metadata(auto.output, "a.txt").get("answers", "txt") == "txt"


@pytest.mark.parametrize("wanted", ["auto", "1", "3"])
@pytest.mark.parametrize("looks", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_details_never_are_of_an_earlier_version(
    auto: Any, callee: Any, monkeypatch: pytest.MonkeyPatch, wanted: str, looks: int
) -> None:
    monkeypatch.setenv("FRAMES", wanted)
    monkeypatch.setenv("ANSWERS", "txt+json")
    callee.faces = {0.0: []} if looks == 2 else {}
    auto.handle("a.mp4")
    auto.put("a.mp4", auto.s3.get_object(Bucket=auto.input, Key="a.mp4")["Body"].read() + b"\0" * 8)
    seen: list[list[str]] = []
    callee.s3 = Watching(auto, seen)
    monkeypatch.setattr(auto.module, "s3", lambda: callee.s3)
    auto.handle("a.mp4")
    # THEN when the text appears, the new details are there
    etag = auto.s3.head_object(Bucket=auto.input, Key="a.mp4")["ETag"].strip('"')
    assert json.loads(auto.text("a.json"))["etag"] == etag
    ((*_, last),) = seen
    assert last == "a.txt"
    assert "a.json" in seen[0]


def test_a_new_version_that_cannot_be_read_leaves_the_answer_of_the_old_one(
    auto: Any, callee: Any
) -> None:
    callee.faces = {0.0: []}
    auto.handle("a.mp4")
    before = state(auto)
    auto.put("a.mp4", b"This is not a video. " * 50)
    with pytest.raises(video_errors.UnreadableVideo):
        auto.handle("a.mp4")
    assert state(auto) == before


@pytest.mark.parametrize("look", [1, 2])
def test_a_video_overwritten_in_each_look_ends_as_the_new_one(
    auto: Any, callee: Any, clip: Path, look: int
) -> None:
    # GIVEN a video that is overwritten during a call, and its new event, which ends at once
    new = clip.read_bytes() + b"\0" * 8
    callee.faces = {0.0: [], 0.4: [], 0.8: [callee.face("Bob", 0.3)], 1.2: [], 1.6: []}

    def overwrite(payload: dict[str, Any]) -> Any:
        auto.put("a.mp4", new)
        auto.handle("a.mp4")
        return callee.good_answer(payload)

    callee.script = [callee.good_answer, overwrite][2 - look :]
    # WHEN the old event ends, THEN it fails and its retry leaves the new video's answer
    # (the stand-in for the recognizer answers a missing frame with StoreRefused)
    failures = (video_errors.VideoChanged, auto.module.recognizer.RecognitionError)
    with pytest.raises((*failures, auto.module.StoreRefused)):
        auto.handle("a.mp4")
    auto.handle("a.mp4")
    etag = hashlib.md5(new).hexdigest()
    assert (auto.keys(auto.stage), auto.keys(auto.output)) == (["a.jpg"], ["a.txt"])
    assert auto.metadata(auto.stage, "a.jpg")["source-etag"] == etag
    assert auto.metadata(auto.output, "a.txt")["source-etag"] == etag
    assert auto.text("a.txt") == "Bob"


def test_details_and_their_removal(auto: Any, callee: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN two people in turn
    monkeypatch.setenv("ANSWERS", "txt+json")
    callee.faces = {0.0: [], 0.4: [callee.face("Bob", 0.3)], 0.8: [callee.face("Ann", 0.4)]}
    callee.faces |= {1.2: [callee.face("Ann", 0.35), callee.face("Unknown", 0.8)], 1.6: []}
    auto.handle("a.mp4")
    # THEN every frame and both people are in the details, the winner first
    assert auto.keys(auto.output) == ["a.json", "a.txt"]
    found = json.loads(auto.text("a.json"))
    etag = auto.metadata(auto.stage, "a.jpg")["source-etag"]
    assert found["video"] == f"s3://{auto.input}/a.mp4"
    assert {name: found[name] for name in callee.settings} == callee.settings
    assert (found["etag"], found["name"]) == (etag, "Ann")
    assert [frame["time"] for frame in found["frames"]] == [0, 0.4, 0.8, 1.2, 1.6]
    assert [len(frame["faces"]) for frame in found["frames"]] == [0, 1, 1, 2, 0]
    assert found["people"] == [
        {"name": "Ann", "frames": 2, "first": 0.8, "last": 1.2, "distance": 0.35},
        {"name": "Bob", "frames": 1, "first": 0.4, "last": 0.4, "distance": 0.3},
    ]
    assert auto.metadata(auto.output, "a.txt")["answers"] == "txt+json"
    # AND a second event writes nothing
    auto.keep_versions()
    before = auto.versions(auto.output)
    auto.handle("a.mp4")
    assert auto.versions(auto.output) == before
    # AND lost details are made again, of all frames
    auto.s3.delete_object(Bucket=auto.output, Key="a.json")
    auto.handle("a.mp4")
    assert json.loads(auto.text("a.json")) == found
    # WHEN the setting is txt again, THEN they are removed and the text no longer announces them
    monkeypatch.setenv("ANSWERS", "txt")
    auto.handle("a.mp4")
    assert auto.keys(auto.output) == ["a.txt"]
    assert auto.metadata(auto.output, "a.txt")["answers"] == "txt"
    assert auto.text("a.txt") == "Ann"


@pytest.mark.parametrize("wanted", ["auto", "1"])
@pytest.mark.parametrize("selection", ["known", "all"])
def test_details_name_everybody_in_the_first_frame(
    auto: Any, callee: Any, monkeypatch: pytest.MonkeyPatch, wanted: str, selection: str
) -> None:
    # GIVEN two known people and a stranger side by side
    callee.settings["selection"] = selection
    faces = [callee.face("Unknown", 0.8), callee.face("Ann", 0.4), callee.face("Bob", 0.3)]
    callee.faces = {0.0: faces}
    monkeypatch.setenv("FRAMES", wanted)
    monkeypatch.setenv("ANSWERS", "txt+json")
    auto.handle("a.mp4")
    # THEN the frame was sent as those that vote are, for which the recognizer names every face
    assert callee.payloads == [{"bucket_name": auto.stage, "image_file_names": ["a.jpg"]}]
    found = json.loads(auto.text("a.json"))
    assert [face["name"] for face in found["frames"][0]["faces"]] == ["Unknown", "Ann", "Bob"]
    assert [person["name"] for person in found["people"]] == ["Ann", "Bob"]
    # AND the text is what it would be without details
    text = "Ann" if selection == "known" else "Unknown\nAnn\nBob"
    assert auto.text("a.txt") == text
    assert [one[0] for one in json.loads(auto.metadata(auto.output, "a.txt")["people"])] == [
        *("Ann", "Bob"),
    ]
    # AND another event computes nothing, and writes nothing
    auto.keep_versions()
    before = auto.versions(auto.output) + auto.versions(auto.stage)
    auto.handle("a.mp4")
    assert callee.payloads[1]["unchanged"] == callee.settings
    assert auto.versions(auto.output) + auto.versions(auto.stage) == before


@pytest.mark.parametrize("wanted", ["auto", "1", "2"])
def test_details_with_any_number_of_frames(
    auto: Any, callee: Any, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setenv("ANSWERS", "txt+json")
    monkeypatch.setenv("FRAMES", wanted)
    auto.s3.put_object(Bucket=auto.output, Key="b.json", Body=b"{}")  # made by hand
    auto.handle("a.mp4")
    found = json.loads(auto.text("a.json"))
    assert (found["name"], len(found["frames"])) == ("Ann", 2 if wanted == "2" else 1)
    auto.keep_versions()
    before = auto.versions(auto.output)
    auto.handle("a.mp4")
    assert auto.versions(auto.output) == before
    monkeypatch.setenv("ANSWERS", "txt")
    auto.handle("a.mp4")
    assert auto.keys(auto.output) == ["a.txt", "b.json"]


def test_the_gallery_changes_between_two_looks(auto: Any, callee: Any) -> None:
    callee.faces = {0.0: []}

    def change(payload: dict[str, Any]) -> Any:
        callee.settings["gallery"] = "new"
        return callee.good_answer(payload)

    callee.script = [callee.good_answer, change]
    with pytest.raises(auto.module.recognizer.RecognitionSettingsChanged, match="A retry uses"):
        auto.handle("a.mp4")
    auto.handle("a.mp4")
    assert auto.metadata(auto.output, "a.txt")["gallery"] == "new"


def test_answers_are_checked(auto: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSWERS", "json")
    with pytest.raises(auto.module.SettingsError, match="ANSWERS is 'json': use one of txt"):
        auto.handle("a.mp4")


def test_metadata_leave_out_what_s3_has_no_room_for(auto: Any, callee: Any) -> None:
    # GIVEN many people with long names
    people = [callee.face(f"{index} {'日' * 12}", 0.1 + index / 100) for index in range(30)]
    callee.faces = {0.0: [], 0.4: people, 0.8: [], 1.2: people[:1], 1.6: []}
    auto.handle("a.mp4")
    found = auto.metadata(auto.output, "a.txt")
    assert 1900 < sum(len(name) + len(value) for name, value in found.items()) <= 2048
    # THEN the last of them are left out, and `faces`
    kept = json.loads(found["people"])
    assert kept[0][1] == 2
    assert "faces" not in found
    assert auto.text("a.txt") == people[0]["name"]


@pytest.mark.slow
def test_waiting_for_the_recognizer_does_not_use_up_ffmpegs_time(
    auto: Any, callee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFMPEG_TIMEOUT_S", "2")
    callee.faces = {0.0: []}
    callee.seconds = 2.2
    started = time.monotonic()
    auto.handle("a.mp4")
    assert time.monotonic() - started > 4
    assert (auto.text("a.txt"), len(callee.payloads)) == ("Ann", 3)
