"""Reading and writing expected.csv."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workload.running.expected import (
    as_answer,
    is_expected,
    match_videos,
    read_expected,
    write_expected,
)
from workload.running.input_errors import InputError

# Any text that UTF-8 can hold, except NUL, which Python 3.9 cannot read from a CSV.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
CELL = TEXT.filter(str.strip)
NAMES = st.dictionaries(CELL, CELL.map(as_answer), max_size=8)
# Cells that mean the same in a file that write_expected did not write.
PLAIN = CELL.filter(lambda cell: not cell.strip().startswith("'"))
PLAIN_NAMES = st.dictionaries(PLAIN, PLAIN.map(as_answer), max_size=8)
ONE_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@ONE_FILE
@given(names=NAMES)
def test_what_is_written_is_read_again(tmp_path: Path, names: dict[str, str]) -> None:
    path = tmp_path / "expected.csv"

    write_expected(names, path)

    assert read_expected(path) == names
    assert not path.read_bytes().startswith(b"\xef\xbb\xbf")


FORMULAS = ["=1+1", "+1", "-1.mp4", "@SUM(A1)", "\t=1", " =1", "\uff1d1", "'=1", "' =1", "''=1"]


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    path = tmp_path / "expected.csv"
    names = {cell: as_answer(cell) for cell in FORMULAS}

    write_expected(names, path)

    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    assert [cell[0] for row in rows for cell in row] == ["'"] * 2 * len(FORMULAS)
    assert read_expected(path) == names


def test_cells_that_are_no_formulas_are_written_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "expected.csv"

    write_expected({"a=b.mp4": "'s Gravesande"}, path)

    assert path.read_text() == "video,name\na=b.mp4,'s Gravesande\n"


@ONE_FILE
@given(
    names=PLAIN_NAMES,
    bom=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    blank=st.booleans(),
)
def test_a_bom_quotes_and_any_line_ends_are_read(
    tmp_path: Path, names: dict[str, str], bom: bool, end: str, blank: bool
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator=end)
    writer.writerow(["video", "name"])
    if blank:
        text.write(end)
    writer.writerows(names.items())
    path = tmp_path / "expected.csv"
    path.write_bytes(text.getvalue().encode("utf-8-sig" if bom else "utf-8"))

    assert read_expected(path) == names


@ONE_FILE
@given(names=PLAIN_NAMES.filter(bool), data=st.data())
def test_a_repeated_video_is_named(
    tmp_path: Path, names: dict[str, str], data: st.DataObject
) -> None:
    video = data.draw(st.sampled_from(sorted(names)))
    path = tmp_path / "expected.csv"
    write_expected(names, path)
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerow([video, data.draw(CELL)])

    with pytest.raises(InputError) as raised:
        read_expected(path)

    assert f"of {path} lists {video} again" in str(raised.value)


@ONE_FILE
@given(content=st.binary(max_size=60), is_headed=st.booleans())
def test_any_other_file_is_read_or_rejected_by_name(
    tmp_path: Path, content: bytes, is_headed: bool
) -> None:
    path = tmp_path / "expected.csv"
    path.write_bytes((b"video,name\n" if is_headed else b"") + content)

    names, message = {}, ""
    try:
        names = read_expected(path)
    except InputError as error:
        message = str(error)

    assert bool(message) == (str(path) in message)
    assert all(video.strip() and name for video, name in names.items())


def test_a_csv_from_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "expected.csv"
    path.write_text('\ufeffvideo,name\r\na.mp4,"Doe, Jane"\r\n\r\nb.mp4,Ünal\r\n', encoding="utf-8")

    assert read_expected(path) == {"a.mp4": "Doe, Jane", "b.mp4": "Ünal"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "video,name"),
        (b"key,person\na.mp4,Ann\n", "starts with key,person"),
        (b"video,name\na.mp4\n", "Line 2 .* is 'a.mp4'"),
        (b"video,name\na.mp4,Doe, Jane\n", "Line 2"),
        (b"video,name\na.mp4,\n", "Line 2"),
        (b"video,name\na.mp4,Ann\nb.mp4,Bob\na.mp4,Ann\n", "Line 4 .* lists a.mp4 again"),
        (b"video,name\na.mp4,\xff\n", "UTF-8"),
        (b'video,name\na.mp4,"Ann\n', "Cannot read"),
    ],
)
def test_a_bad_csv_is_rejected(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "expected.csv"
    path.write_bytes(content)

    with pytest.raises(InputError, match=message) as raised:
        read_expected(path)

    assert str(path) in str(raised.value)


COMPOSED, DECOMPOSED = "\u00fcber.mp4", "u\u0308ber.mp4"


@pytest.mark.parametrize(
    ("written", "known", "meant"),
    [
        (DECOMPOSED, [COMPOSED], COMPOSED),
        (COMPOSED, [DECOMPOSED], DECOMPOSED),
        (f" {COMPOSED} ", [DECOMPOSED], DECOMPOSED),
        (COMPOSED, [COMPOSED, DECOMPOSED], COMPOSED),
        (f" {DECOMPOSED}", [COMPOSED, DECOMPOSED], DECOMPOSED),
        ("other.mp4", [COMPOSED], "other.mp4"),
        ("u\u0308\u0304", ["\u01d6", "\u00fc\u0304"], "u\u0308\u0304"),  # it could be either
    ],
)
def test_a_videos_unicode_form_matters_only_if_both_exist(
    written: str, known: list[str], meant: str
) -> None:
    assert match_videos({written: "Ann"}, known) == {meant: "Ann"}


def test_spaces_are_kept_only_if_they_belong_to_the_videos_name(tmp_path: Path) -> None:
    names = {" lead.mp4": "Ann", "b.mp4 ": "Bob", "c,d.mp4": "Cid"}
    path = tmp_path / "expected.csv"
    write_expected(names, path)
    assert read_expected(path) == names

    path.write_text('video,name\n" lead.mp4", Ann\n b.mp4 ,Bob\nc.mp4,Cid\n')
    matched = match_videos(read_expected(path), {" lead.mp4", "b.mp4"})
    assert matched == {" lead.mp4": "Ann", "b.mp4": "Bob", "c.mp4": "Cid"}
    with pytest.raises(InputError, match=r"'b\.mp4' twice"):
        match_videos({"b.mp4": "Bob", " b.mp4": "Bob"}, {"b.mp4"})


def test_names_are_read_as_a_gallery_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "expected.csv"
    path.write_text("video,name\na.mp4,  A\u0308nn \u00a0 O\u0308 \nb.mp4,ann\n", encoding="utf-8")

    assert read_expected(path) == {"a.mp4": "\u00c4nn \u00d6", "b.mp4": "ann"}


@pytest.mark.parametrize(
    ("answer", "name", "is_it"),
    [
        ("\u00c4nn", "A\u0308nn", True),
        ("Ann  Lee", "Ann Lee ", True),
        ("Ann", "ann", False),  # clients compare the text, and only one of the two is in it
        ("AnnLee", "Ann Lee", False),
        ("Ann\nBob", "Ann \n Bob\n", True),  # FACES=all
        ("Ann\nBob", "Ann Bob", False),
        ("Ann\nBob", "Bob\nAnn", False),
    ],
)
def test_an_answer_is_compared_in_one_form(answer: str, name: str, is_it: bool) -> None:
    assert is_expected(answer, name) == is_it
    assert is_expected(name, answer) == is_it
