"""The table of settings: what each may be, and that the functions and docs agree with it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.setting_table import (
    DEPLOYMENT,
    RECOGNIZER,
    SPLITTER,
    TABLE,
    Choice,
    Number,
    Setting,
    SettingsError,
    check_setting,
    read_words,
    rows,
)
from pipeline.settings import Deployment


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: f"{setting.section}.{setting.name}")
def test_a_default_is_allowed_and_help_is_one_phrase(setting: Setting) -> None:
    if setting.section != DEPLOYMENT or setting.default:
        check_setting(setting.section, setting.name, setting.default)

    assert setting.help
    assert not setting.help.endswith(".")


@pytest.mark.parametrize(
    ("function", "name", "good", "bad"),
    [
        (SPLITTER, "memory_mb", ["128", "10240"], ["127", "10241", "", "1e3", "512.0", "٥١٢"]),
        (SPLITTER, "timeout_s", ["1", "900"], ["0", "901", "-1", "+5", "1_0", " 5"]),
        (RECOGNIZER, "ephemeral_storage_mb", ["512", "10240"], ["511", "10241"]),
        (SPLITTER, "FRAMES", ["auto", "1", "100"], ["abc", "0", "101", "Auto", "", "5.0"]),
        (SPLITTER, "ANSWERS", ["txt", "txt+json"], ["json", "TXT", ""]),
        (SPLITTER, "FRAMES_PER_INVOKE", ["1", "1000"], ["0", "1001", ""]),
        (SPLITTER, "INVOKE_CONCURRENCY", ["1", "100"], ["0", "101", ""]),
        (SPLITTER, "FFMPEG_TIMEOUT_S", ["1", "900"], ["0", "901", "60s"]),
        (RECOGNIZER, "MODEL", ["facenet-vggface2", "sface"], ["nosuch", "", "SFace"]),
        (RECOGNIZER, "ENGINE", ["ncnn", "torch"], ["onnx", "NCNN", ""]),
        (RECOGNIZER, "FACES", ["known", "largest", "all"], ["every", ""]),
        (RECOGNIZER, "KEEP_EMBEDDINGS", ["0", "1"], ["yes", ""]),
        (RECOGNIZER, "THRESHOLD", ["", "0.9", "1", "2"], ["zz", "nan", "inf", "-1", "2.1", "1e0"]),
        (RECOGNIZER, "GALLERY_URI", ["", "s3://b/k/data.pt"], ["data.pt", "s3://b", "s3://B/k"]),
        (RECOGNIZER, "GALLERY_REFRESH_S", ["0", "60"], ["-1", "soon", ""]),
        (RECOGNIZER, "GALLERY", ["data.pt"], ["", "two words.pt"]),
        (RECOGNIZER, "MODELS_DIR", ["models"], ["", "a;b"]),
    ],
)
def test_values_of_another_kind_are_refused(
    function: str, name: str, good: list[str], bad: list[str]
) -> None:
    for value in good:
        check_setting(function, name, value)
    for value in bad:
        said = re.escape(f"[{function}] {name} is {value!r}: use ")
        with pytest.raises(SettingsError, match=f"^{said}"):
            check_setting(function, name, value)


def test_every_setting_of_a_function_is_tried_above() -> None:
    (marks,) = (mark.args[1] for mark in test_values_of_another_kind_are_refused.pytestmark)  # type: ignore[attr-defined]

    tried = {name for _, name, *_ in marks}
    assert tried == {setting.name for setting in TABLE if setting.section != DEPLOYMENT}


def test_set_words_are_read_by_function() -> None:
    texts = ("video-splitting.FRAMES=5", "face-recognition.MODEL=sface")

    assert read_words(texts) == {
        "video-splitting": {"FRAMES": "5"},
        "face-recognition": {"MODEL": "sface"},
    }
    uri = "face-recognition.GALLERY_URI=s3://b/a=b.pt"
    assert read_words((uri,)) == {"face-recognition": {"GALLERY_URI": "s3://b/a=b.pt"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FRAMES=5", "use FUNCTION.NAME=VALUE"),
        ("video-splitting.FRAMES", "use FUNCTION.NAME=VALUE"),
        ("other.FRAMES=5", "use FUNCTION.NAME=VALUE"),
        ("deployment.prefix=p", "use FUNCTION.NAME=VALUE"),
        ("", "use FUNCTION.NAME=VALUE"),
        ("video-splitting.FARMES=5", "has no setting 'FARMES': use memory_mb, "),
        ("video-splitting.FRAMES=abc", "FRAMES is 'abc': use auto or a whole number from 1 to 100"),
    ],
)
def test_a_wrong_set_word_is_named(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_words((text,))

    assert str(caught.value).startswith(f"--set {text}: ")
    assert message in str(caught.value)


def test_settings_override_a_functions_defaults() -> None:
    plain = Deployment("p")
    changed = Deployment("p", "", {SPLITTER: {"memory_mb": "2048", "FRAMES": "5"}})

    assert changed.splitter.memory_mb == 2048
    assert changed.splitter.environment == {**plain.splitter.environment, "FRAMES": "5"}
    assert changed.recognizer == plain.recognizer


@pytest.mark.parametrize(
    ("function", "name", "value"),
    [
        (SPLITTER, "timeout_s", "160"),
        (SPLITTER, "FFMPEG_TIMEOUT_S", "220"),
        (RECOGNIZER, "timeout_s", "180"),
    ],
)
def test_the_splitter_must_outlive_what_it_waits_for(function: str, name: str, value: str) -> None:
    almost = str(int(value) + (1 if name == "timeout_s" and function == SPLITTER else -1))
    Deployment("p", "", {function: {name: almost}})

    with pytest.raises(SettingsError, match=r"^video-splitting\.timeout_s is "):
        Deployment("p", "", {function: {name: value}})


def numbers_read_by_the_splitter(root: Path) -> dict[str, tuple[int, int]]:
    """The ranges in the calls of number("NAME", low, high) in the splitter's code."""
    code = "".join(path.read_text() for path in sorted((root / SPLITTER).glob("*.py")))
    calls = re.findall(r'number\("(\w+)", (\d+), (\d+)\)', code)
    return {name: (int(low), int(high)) for name, low, high in calls}


def test_the_splitters_own_ranges_are_the_tables(root: Path) -> None:
    read = numbers_read_by_the_splitter(root)
    read.pop("RECOGNITION_TIMEOUT_S")  # from the recognizer's timeout_s
    read.pop("TIMEOUT_S")  # from the splitter's

    wanted = {
        name: (setting.kind.low, setting.kind.high)
        for name, setting in rows(SPLITTER).items()
        if isinstance(setting.kind, Number) and name.isupper() and not setting.kind.words
    }
    assert read == wanted


def test_the_functions_know_the_words_that_the_table_allows(root: Path) -> None:
    def words(function: str, name: str) -> tuple[str, ...]:
        kind = rows(function)[name].kind
        assert isinstance(kind, Choice)
        return kind.words

    assert words(RECOGNIZER, "FACES") == printed(root / RECOGNIZER, "recognition", "FACES")
    assert words(RECOGNIZER, "MODEL") == printed(root / RECOGNIZER, "models", "MODELS")
    assert words(SPLITTER, "ANSWERS") == printed(root / SPLITTER, "video_answer", "ANSWERS")


def printed(folder: Path, module: str, name: str) -> object:
    """The words in a constant of a function's module, which only its own folder can import."""
    command = [sys.executable, "-c", f"from {module} import {name} as words; print(tuple(words))"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return ast.literal_eval(done.stdout)


def test_a_deployment_has_only_settings_that_fit() -> None:
    for values in ({"FRAMES": "x"}, {"FARMES": "5"}):
        with pytest.raises(SettingsError, match=r"^\[video-splitting\]"):
            Deployment("p", "", {SPLITTER: values})
