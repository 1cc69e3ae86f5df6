"""The report on a real run, opened in a real browser."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pipeline.keys import frame_key, output_key
from samples.scenes import CLIPS
from tests.workload.chromium import BINARY, Screen, browsing
from tests.workload.conftest import Place, aws_of, empty
from tests.workload.pdf import texts
from workload.report import write_report
from workload.reporting.evidence import Evidence
from workload.reporting.faces import Face
from workload.reporting.moments import Moment
from workload.reporting.page import FIRST_CARDS, Findings, render
from workload.reporting.pictures import Share, fit
from workload.reporting.prices import load_prices
from workload.reporting.receipt import write_receipt
from workload.reporting.sightings import Sighting
from workload.reporting.timeline import KINDS, Row, Segment
from workload.reporting.verdict import Verdict
from workload.running.run import VideoRun, WorkloadRun, load, save

SHOWN = "[...document.querySelectorAll('.card')].filter(c => c.offsetParent !== null).length"
CARDS = "[...document.querySelectorAll('.sheet .card')]"
ROWS = "[...document.querySelectorAll('.videos tbody tr')]"
WIDTHS = {"desktop": 1280, "tablet": 768, "phone": 390, "small phone": 320}
COUNT = len(CLIPS) + 1  # one of them unreadable
LONG = f"holiday_{'x' * 90}.mp4"
# Words that are broken across lines, except the long name.
BROKEN = """(() => {
  const broken = [], texts = document.createTreeWalker(
    document.querySelector('.videos'), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    for (const word of texts.currentNode.data.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(texts.currentNode, word.index);
      range.setEnd(texts.currentNode, word.index + word[0].length);
      if (range.getClientRects().length > 1 && word[0].length < 60) broken.push(word[0]);
    }
  }
  return broken;
})()"""
# The edges of the boxes by video: left, top, right and bottom, as fractions of the shown picture.
BOXES = """Object.fromEntries([...document.querySelectorAll('.card')].map(card => {
  const place = card.querySelector('img')?.getBoundingClientRect();
  return [card.querySelector('.key').firstElementChild.textContent,
    [...card.querySelectorAll('rect.box')].map(r => r.getBoundingClientRect()).map(box => [
      (box.left - place.left) / place.width, (box.top - place.top) / place.height,
      (box.right - place.left) / place.width, (box.bottom - place.top) / place.height])];
}))"""
# For each visible plot: its section, and how many bars of each color lie within it.
BARS = """[...document.querySelectorAll('figure > svg')].filter(s => s.clientWidth).map(svg => {
  const within = svg.getBoundingClientRect(), bars = {};
  for (const path of svg.querySelectorAll('path')) {
    const box = path.getBoundingClientRect();
    const hatch = path.style.fill.match(/url\\("#(.*)"\\)/);
    const painted = hatch ? document.getElementById(hatch[1]).querySelector('rect') : path;
    const kind = painted.style.fill.match(/var\\(--(.*)\\)/)?.[1];
    if (kind && box.width > 0 && box.height > 1 && box.left >= within.left
        && box.right <= within.right && box.top >= within.top && box.bottom <= within.bottom)
      bars[kind] = (bars[kind] ?? 0) + path.getAttribute('d').split('M').length - 1;
  }
  return [svg.closest('section').querySelector('h2').id, svg.classList.value, bars];
})"""
CELLS = """[...document.querySelectorAll('.receipt tbody:not(.sum) td:last-child')].map(
  cell => cell.textContent)"""
PAPER_PX = 710  # US letter at 96 dpi, without margins; shorter than A4
# A name that would become markup, a script and an attribute if it were not escaped.
NASTY = "a folder/<b>&'\"<script>alert(1)</script>.mov"
# Names that plots could mistake for mathematics, a font, a color, an ID or a link.
ODD = [
    '$x$ "q" \'a\' id="z.mp4',
    "font: 12px x.mp4",
    ": #010203 url(#a).mp4",
    "&lt;b>\\frac_^{.mp4",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Screen]:
    """A headless Chromium that the tests share; each opens its own page."""
    if BINARY is None:
        pytest.skip("no Chromium here")
    with browsing() as started:
        yield started


@pytest.fixture(scope="module")
def page(pipeline: Place, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report that generate.py writes, on all sample videos, one renamed, and one bad file."""
    folder = tmp_path_factory.mktemp("reported")
    sent = folder / "videos"
    shutil.copytree(videos, sent)
    (sent / "unreadable.mp4").write_bytes(b"not a video")
    (sent / "test_00.mp4").rename(sent / LONG)
    expected = (sent / "expected.csv").read_text()
    expected = expected.replace("test_00.mp4", LONG)
    expected = expected.replace("test_03.mp4,Eileen Collins", "test_03.mp4,Grace Hopper")
    (sent / "expected.csv").write_text(expected)
    done = empty(pipeline).generate(
        *("--testcase-folder", sent, "--report", folder / "report.html"),
        *("--run", folder / "run.json", "--deadline", 60),
    )
    assert done.returncode == 1, done.stderr  # one is missing
    assert f"Report: {folder / 'report.html'}" in done.stderr
    return folder / "report.html"


@pytest.mark.parametrize(
    ("device", "scheme"), list(zip(WIDTHS, ["light", "dark"] * 2, strict=True))
)
def test_the_page_is_complete_on_every_screen(
    page: Path, browser: Screen, device: str, scheme: str
) -> None:
    browser.open(page, WIDTHS[device], scheme)

    assert browser.run("document.querySelectorAll('.card').length") == COUNT
    assert browser.run("document.querySelectorAll('.card.missing').length") == 1
    assert browser.run("document.querySelectorAll('.card.no-face').length") == 1
    sizes = browser.run("[...document.images].map(i => i.naturalWidth)")
    assert len(sizes) == COUNT - 1
    assert min(sizes) > 0
    over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.run(over) <= 0
    dark = browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0] < 100")
    assert dark is (scheme == "dark")
    assert browser.run(BROKEN) == []
    # the plots for this width are shown, with a bar for everything that took time
    form = "wide" if WIDTHS[device] > 720 else "narrow"
    (time, time_form, stretches), (latency, latency_form, answers) = browser.run(BARS)
    assert (time, time_form, latency, latency_form) == ("time", form, "latency", form)
    assert stretches["upload"] == COUNT
    assert stretches["split"] >= COUNT - 1
    assert stretches["wait"] >= COUNT - 2
    assert stretches["recognize"] >= COUNT - 2
    assert stretches["failed"] >= 1
    assert answers.get("recognize", 0) + answers.get("cold", 0) >= 1
    # the total is the sum of its parts, each of which is rounded
    parts = [float(cell.lstrip("$")) for cell in browser.run(CELLS)]
    assert len(parts) == 6
    total = browser.run("document.querySelector('.receipt .total td').textContent")
    assert float(total.lstrip("$")) == pytest.approx(sum(parts), abs=4e-6)
    # there are no errors, and nothing is fetched
    assert browser.problems == []
    assert {url.split(":")[0] for url in browser.urls} <= {"file", "data"}


@pytest.fixture(scope="module")
def faces(pipeline: Place, page: Path) -> dict[str, list[list[float]]]:
    """Where the recognizer found faces, by video, as fractions of the frame."""
    s3, names = pipeline.client("s3"), pipeline.deployment
    outputs = set(pipeline.keys(names.output_bucket))
    found: dict[str, list[list[float]]] = {}
    for video in load(page.with_name("run.json")).videos:
        found[video.key] = []
        if output_key(video.key) not in outputs:
            continue
        answer = s3.head_object(Bucket=names.output_bucket, Key=output_key(video.key))
        frame = s3.get_object(Bucket=names.stage_1_bucket, Key=frame_key(video.key))["Body"].read()
        width, height = Image.open(io.BytesIO(frame)).size
        sides = (width, height, width, height)
        for face in json.loads(answer["Metadata"].get("faces", "[]")):
            edges = zip(face["box"], sides, strict=True)
            found[video.key].append([edge / side for edge, side in edges])
    return found


@pytest.mark.parametrize("device", list(WIDTHS))
def test_boxes_are_drawn_on_the_faces(
    page: Path, browser: Screen, faces: dict[str, list[list[float]]], device: str
) -> None:
    browser.open(page, WIDTHS[device], "light")
    shown = browser.run(BOXES)

    assert sum(map(bool, shown.values())) == COUNT - 2  # all but the unreadable one and the coffee
    for key, boxes in shown.items():
        assert len(boxes) == len(faces[key]), key
        for box, face in zip(boxes, faces[key], strict=True):
            assert box == pytest.approx(face, abs=0.01), key


def test_cards_can_be_filtered_and_the_page_printed(page: Path, browser: Screen) -> None:
    browser.open(page, 1280, "light")
    assert browser.run(SHOWN) == COUNT

    browser.run("document.getElementById('show-missing').click()")

    assert browser.run(SHOWN) == 1
    assert "unreadable.mp4" in browser.run("document.querySelector('.card.missing').innerText")
    pages = texts(browser.printed())
    # all cards are printed, whatever the filter, and so is the table
    printed = [run for page in pages for run in page]
    assert printed.count("test_01.mp4") == 3  # card, timeline, table
    # and the short plot does not have a page for itself
    (short,) = [page for page in pages if "How long answers took" in page]
    assert "Where the time went" in short or "Receipt" in short


def test_the_first_page_is_printed_with_cards_however_tall(
    pipeline: Place, browser: Screen, page: Path, tmp_path: Path
) -> None:
    run = load(page.with_name("run.json"))
    wrong = [replace(v, expected="Somebody With A Name Of Several Lines") for v in run.videos]
    run = replace(run, videos=tuple(wrong))
    write_report(aws_of(pipeline), pipeline.deployment, run, tmp_path / "tall.html")

    browser.open(tmp_path / "tall.html", 1280)
    first = texts(browser.printed())[0]

    assert "test_00.mp4" in first or "test_01.mp4" in first


def test_the_wrong_answers_come_first_and_say_what_was_expected(
    page: Path, browser: Screen
) -> None:
    browser.open(page, 1280)
    videos = browser.run(f"{CARDS}.map(c => c.dataset.video)")
    rows = browser.run(f"{ROWS}.map(r => [...r.cells].slice(0, 4).map(c => c.innerText))")

    assert f"{COUNT - 2} of {COUNT - 1} right, 1 wrong" in browser.run("document.title")
    assert browser.run("document.querySelector('h1').innerText") in browser.run("document.title")
    assert videos[:2] == ["test_03.mp4", "unreadable.mp4"]
    assert "expected Grace Hopper" in browser.run(f"{CARDS}[0].innerText")
    video, expected, answer, nearest = rows[0]
    assert (video, expected) == ("test_03.mp4", "Grace Hopper")
    assert answer.startswith("✗ Eileen Collins")
    assert 0 < float(nearest) < 0.5
    (stranger,) = (row for row in rows if row[0] == "test_04.mp4")
    assert stranger[1:3] == ["Unknown", "Unknown"]
    assert stranger[3].rpartition(" ")[0] in ("Barack Obama", "Joe Biden", "Eileen Collins")

    browser.run("document.getElementById('show-wrong').click()")

    assert browser.run(SHOWN) == 1


def test_videos_can_be_found_sorted_and_grouped_by_person(page: Path, browser: Screen) -> None:
    browser.open(page, 1280)
    shown = f"{CARDS}.filter(c => c.offsetParent).map(c => c.dataset.video)"

    browser.page.fill("#find", "grace")
    assert browser.run(shown) == ["test_03.mp4"]
    assert browser.page.inner_text("#found") == f"1 of {COUNT}"
    assert browser.run(f"{ROWS}.filter(r => r.offsetParent).length") == 1

    browser.page.fill("#find", "")
    browser.page.select_option("#order", "slow")
    latencies = browser.run(f"{CARDS}.map(c => +c.dataset.latency || -1)")
    assert latencies == sorted(latencies, reverse=True)
    assert len(latencies) == COUNT

    browser.page.select_option("#group", "answer")
    groups = browser.run("[...document.querySelectorAll('.group-head')].map(h => h.innerText)")
    assert groups == [
        "Barack Obama 6",
        "Eileen Collins 2",
        "Joe Biden 3",
        "No answer 1",
        "No face 1",
        "Unknown 6",
    ]

    browser.page.click(".videos thead th:has-text('Latency')")
    seconds = browser.run(f"{ROWS}.map(r => r.cells[4].innerText)")
    times = [float(t.split()[0]) / (1000 if "ms" in t else 1) for t in seconds if t != "never"]
    assert times == sorted(times)
    assert seconds[-1] == "never"
    assert browser.problems == []


def test_a_click_shows_the_whole_frame(page: Path, browser: Screen, pipeline: Place) -> None:
    browser.open(page, 1280)
    card = "[data-video='test_01.mp4']"
    frame = (
        pipeline.client("s3")
        .get_object(Bucket=pipeline.deployment.stage_1_bucket, Key="test_01.jpg")["Body"]
        .read()
    )

    browser.page.click(f"{card} .open")

    assert browser.page.inner_text("dialog .key span") == "test_01.mp4"
    shown = browser.run("document.querySelector('dialog img').src")
    assert base64.b64decode(shown.partition(",")[2]) == frame
    width = browser.run("document.querySelector('dialog .mat img').getBoundingClientRect().width")
    assert width > 500
    browser.page.keyboard.press("ArrowRight")
    assert browser.page.inner_text("dialog .key span") != "test_01.mp4"
    browser.page.keyboard.press("Escape")
    assert browser.run("document.querySelector('dialog').open") is False
    assert browser.problems == []


def test_without_scripts_all_is_there(page: Path, browser: Screen) -> None:
    browser.open(page, 1280, scripts=False)

    assert browser.page.locator(".card:visible").count() == COUNT
    assert browser.page.locator(".videos tbody tr:visible").count() == COUNT
    assert browser.page.locator(".tools:visible").count() == 0  # what needs a script
    small = browser.page.locator("[data-video='test_01.mp4'] img").bounding_box()
    browser.page.click("[data-video='test_01.mp4'] .open")
    large = browser.page.locator("[data-video='test_01.mp4'] img").bounding_box()
    assert small is not None
    assert large is not None
    assert large["width"] > 2 * small["width"]


def test_the_rows_can_be_saved_as_csv_and_json(page: Path, browser: Screen) -> None:
    browser.open(page, 1280)
    saved = {}
    for kind in ("csv", "json"):
        with browser.page.expect_download() as download:
            browser.page.click(f".downloads a[download$='.{kind}']")
        saved[kind] = Path(download.value.path()).read_text(encoding="utf-8")

    rows = {row["video"]: row for row in csv.DictReader(io.StringIO(saved["csv"]))}
    whole = json.loads(saved["json"])
    assert len(rows) == len(whole["videos"]) == COUNT
    wrong = rows["test_03.mp4"]
    assert (wrong["expected"], wrong["answer"]) == ("Grace Hopper", "Eileen Collins")
    assert wrong["outcome"] == "wrong"
    assert float(wrong["latency_s"]) > 0
    (same,) = (row for row in whole["videos"] if row["video"] == "test_03.mp4")
    assert same["faces"][0]["name"] == "Eileen Collins"
    assert same["seconds"]["split"] == float(wrong["split_s"])


def test_two_runs_are_compared(pipeline: Place, page: Path, tmp_path: Path) -> None:
    run = page.with_name("run.json")
    before = json.loads(run.read_text())
    before["videos"] = [v for v in before["videos"] if v["key"] != "test_05.mp4"]
    for video in before["videos"]:
        if video["key"] in ("test_01.mp4", "test_02.mp4"):
            video["answer"] = "Unknown"
        if video["key"] == "test_03.mp4":
            video["answer"] = "Grace Hopper"
        if video["answered"]:
            video["answered"] += 60
    (tmp_path / "before.json").write_text(json.dumps(before))
    (tmp_path / "after.json").write_text(run.read_text())

    done = pipeline.run("workload/report.py", tmp_path / "before.json", tmp_path / "after.json")

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "after.html")
    found = (tmp_path / "after.html").read_text()
    section = found[found.index('id="compared"') : found.index('id="time"')]
    words = " ".join(re.sub(r"<[^>]*>", " ", section).split())
    assert f"{COUNT - 1} videos in common" in words
    assert re.search(r"median [\d.]+ s [\d.]+ s better, -\d\d %", words)
    changes = words[words.index("Videos that differ") :]
    assert "test_03.mp4 Grace Hopper Grace Hopper Eileen Collins worse" in changes
    assert "test_02.mp4 Joe Biden Unknown Joe Biden better" in changes
    assert "test_05.mp4 Unknown not in this run Unknown only one" in changes
    assert changes.index("test_03.mp4") < changes.index("test_01.mp4") < changes.index("test_05")

    three = pipeline.run("workload/report.py", run, run, run)
    assert three.returncode == 2


def test_the_page_names_failures_and_is_one_file(page: Path) -> None:
    text = page.read_text()

    assert "unreadable.mp4" in text
    for outside in ('src="http', 'href="http', "url(http", "@import"):
        assert outside not in text
    assert len(text) < 3_000_000


def test_the_command_writes_the_same_page_again(
    pipeline: Place, page: Path, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"lambda_gb_second": 1.0}))
    options = ("--run", page.with_name("run.json"), "--output", tmp_path / "again.html")

    done = pipeline.run("workload/report.py", *options, "--prices", prices)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "again.html")
    again = (tmp_path / "again.html").read_text()
    assert "Overridden by prices.json" in again
    # an overridden price may be for x86 or arm64
    assert "Lambda x86, per GB-second" in page.read_text()
    assert "Lambda x86" not in again
    assert "Lambda, per GB-second" in again

    rejected = pipeline.run("workload/report.py", *options, prefix="other")
    assert rejected.returncode == 1
    assert "pass these options, or the file of another run" in rejected.stderr


@pytest.mark.parametrize("count", [40, 100])
def test_a_printed_plot_stays_below_its_heading_and_names_unbroken(
    pipeline: Place, browser: Screen, tmp_path: Path, count: int
) -> None:
    keys = [f"test_{number:02}.mp4" for number in range(count - 1)]
    videos = tuple(VideoRun(key, 10, 1.0, 2.0, None) for key in [*keys, LONG])
    run = WorkloadRun(pipeline.deployment.prefix, "", pipeline.aws.region, 1.0, 3.0, 0.0, videos)
    write_report(aws_of(pipeline), pipeline.deployment, run, tmp_path / "printed.html")

    browser.open(tmp_path / "printed.html", 1280, "light")
    pages = texts(browser.printed())
    browser.on_paper(PAPER_PX)
    broken = browser.run(BROKEN)
    scales = browser.run(
        "[...document.querySelectorAll('figure > svg.wide')].map(s => s.getScreenCTM().a)"
    )

    assert broken == []
    # no page is nearly empty: the fewest runs of text are those of a plot's page
    assert min(len([run for run in page if run.strip()]) for page in pages) >= 10
    assert min(scales) > 0.6  # 10 pixels of text stay larger than 6
    (timeline,) = [page for page in pages if "Where the time went" in page]
    assert "seconds since the run began" in timeline
    assert keys[0] in timeline
    table = pages[next(i for i, page in enumerate(pages) if "Every video" in page) :]
    assert len(table) <= 1 + count / 30
    rows = [run for page in table for run in page]
    assert [key for key in rows if key in keys] == keys
    assert rows.count("Missing") == count
    assert "Upload" not in rows


def test_names_are_shown_as_text_whatever_they_look_like(
    pipeline: Place, browser: Screen, tmp_path: Path
) -> None:
    # GIVEN a run in which no video was ever answered
    failure = "<img src=x onerror=alert(2)>"
    videos = tuple(VideoRun(key, 10, 1.0, 2.0, None, failure) for key in [NASTY, *ODD])
    run = WorkloadRun(pipeline.deployment.prefix, "", pipeline.aws.region, 1.0, 3.0, 0.0, videos)
    write_report(aws_of(pipeline), pipeline.deployment, run, tmp_path / "nasty.html")

    browser.open(tmp_path / "nasty.html", 390, "light")
    assert NASTY in browser.run("document.querySelector('.card').textContent")
    assert browser.run("document.querySelectorAll('img, .card script, .card b').length") == 0
    assert browser.dialogs == []
    for form in ("wide", "narrow"):
        script = f"[...document.querySelectorAll('svg.{form} text')].map(t => t.textContent)"
        assert set(ODD) <= set(browser.run(script)), form
    family = "getComputedStyle(document.querySelector({})).fontFamily"
    assert browser.run(family.format("'svg.wide text'")) == browser.run(family.format("'body'"))


def test_a_long_contact_sheet_shows_its_first_cards(
    pipeline: Place, browser: Screen, tmp_path: Path
) -> None:
    videos = tuple(VideoRun(f"{i:03}.mp4", 10, 1.0, 2.0, None) for i in range(FIRST_CARDS + 5))
    run = WorkloadRun(pipeline.deployment.prefix, "", pipeline.aws.region, 1.0, 3.0, 0.0, videos)
    write_report(aws_of(pipeline), pipeline.deployment, run, tmp_path / "long.html")

    browser.open(tmp_path / "long.html", 1280, "light")
    assert browser.run(SHOWN) == FIRST_CARDS

    for chip in ("show-all", "show-missing"):
        browser.run(f"document.getElementById('{chip}').click()")
        assert browser.run(SHOWN) == FIRST_CARDS + 5


def test_an_empty_run_gets_a_page(pipeline: Place, tmp_path: Path) -> None:
    run = WorkloadRun(pipeline.deployment.prefix, "", pipeline.aws.region, 1.0, 3.0, 0.0, ())
    save(run, tmp_path / "run.json")
    assert load(tmp_path / "run.json") == run

    write_report(aws_of(pipeline), pipeline.deployment, run, tmp_path / "empty.html")

    assert "0 of 0" in (tmp_path / "empty.html").read_text()


@pytest.mark.slow
def test_a_thousand_videos_are_below_10_mb_and_usable_at_once(
    browser: Screen, sample_photos: Path, tmp_path: Path
) -> None:
    frame = io.BytesIO()
    Image.open(sample_photos / "t1.jpg").convert("RGB").save(frame, "JPEG", quality=92)
    picture = fit(frame.getvalue(), Share.of(1000, 0).main)
    face = Face("Unknown", 0.8123, (10.5, 20.5, 110.5, 140.5), Verdict.UNKNOWN, "Ada Lovelace")
    kinds = [kind for kind in KINDS if kind != "failed"]
    cards, rows = [], []
    for number in range(1000):
        video = VideoRun(
            f"folder/video_{number:04}.mp4", 10, 1.0, 2.0, 9.5 + number, expected="Unknown"
        )
        video = replace(video, answer="Unknown" if number % 9 else "Ada Lovelace")
        moments = tuple(Moment(index, (face,), 0.4 * index) for index in range(5))
        card = Sighting(video, Verdict.UNKNOWN, "Unknown", (face,), face, "Ada Lovelace", 0.637)
        cards.append(replace(card, picture=picture, moments=moments, frames=5, votes=5))
        spans = [Segment(kind, number + i, number + i + 0.9) for i, kind in enumerate(kinds)]
        rows.append(Row(video.key, tuple(spans), 8.5 + number, 1))
    run = WorkloadRun("p", "", "us-east-1", 1.0, 1010.0, 0.0, tuple(card.video for card in cards))
    prices = load_prices(None)
    receipt = write_receipt(("a", "b"), [], [], 1000, prices)
    page = render(Findings(run, cards, rows, Evidence(), receipt, prices, is_local=True))
    (tmp_path / "thousand.html").write_text(page)

    browser.open(tmp_path / "thousand.html", 1280)

    assert len(page.encode()) < 10_000_000
    timing = "performance.getEntriesByType('navigation')[0].loadEventEnd"
    paint = "performance.getEntriesByType('paint')[0].startTime"
    # quiet, 0.7 s and 0.2 s on two cores
    assert browser.run(timing) < 5000
    assert browser.run(paint) < 2000
    browser.page.fill("#find", "video_0999")
    assert browser.run(SHOWN) == 1
