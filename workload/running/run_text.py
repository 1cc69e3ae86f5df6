"""A run as text: one line per video, the figures, and the missing answers."""

from __future__ import annotations

from pipeline.names import printable
from workload.running.latency import summarize, text_table, without_empty
from workload.running.run import VideoRun, WorkloadRun

COLUMNS = ("video", "expected", "answer", "seconds", "")


def video_rows(run: WorkloadRun) -> list[tuple[str, ...]]:
    """One row of COLUMNS per video: wrong ones first, then missing ones."""
    return [
        (
            video.key,
            ", ".join((video.expected or "").split("\n")),
            ", ".join((video.answer or "").split("\n")),
            "" if video.latency_s is None else f"{video.latency_s:.2f}",
            _remark(video),
        )
        for video in sorted(run.videos, key=lambda video: video.outcome.rank)
    ]


def _remark(video: VideoRun) -> str:
    before = "already answered, same content" if video.repeated else ""
    return ", ".join(filter(None, (video.outcome.value, before)))


def summary_lines(run: WorkloadRun, planned: int) -> list[str]:
    """The figures of the run. `planned` is how many videos it set out to upload."""
    answered = [video for video in run.videos if video.answered is not None]
    measured = [video for video in answered if not video.repeated]
    repeated = len(answered) - len(measured)
    lines = [f"uploaded    {len(run.videos)} of {planned}{_upload_pace(run.videos)}"]
    before = f", {repeated} of them before this run (same content)" if repeated else ""
    lines.append(f"answered    {len(answered)} of {len(run.videos)}{before}")
    if run.score.expected:
        lines.append(f"names       {run.score}")
    figures = summarize([video.latency_s for video in measured if video.latency_s is not None])
    if figures is not None:
        lines.append(
            f"latency     minimum {figures.minimum:.2f} s, average {figures.average:.2f} s, "
            f"p50 {figures.p50:.2f} s, p95 {figures.p95:.2f} s, p99 {figures.p99:.2f} s, "
            f"maximum {figures.maximum:.2f} s"
        )
        last = max(video.answered for video in measured if video.answered is not None)
        seconds = max(last - min(video.started for video in measured), 1e-3)
        lines.append(f"throughput  {len(measured) / seconds:.2f} videos/s over {seconds:.1f} s")
    lines.append(f"clock       S3 is {run.skew_s:+.2f} s from this machine (corrected)")
    return lines


def _upload_pace(videos: tuple[VideoRun, ...]) -> str:
    if not videos:
        return ""
    seconds = max(max(v.stored for v in videos) - min(v.started for v in videos), 1e-3)
    megabytes = sum(video.size_bytes for video in videos) / 1e6
    return f" ({megabytes:.1f} MB) in {seconds:.1f} s, {len(videos) / seconds:.2f} uploads/s"


def missing_lines(run: WorkloadRun, is_queue_read: bool) -> list[str]:
    """Each video without an answer, and the reason in the failure queue."""
    queue = (
        "and nothing in the failure queue" if is_queue_read else "the failure queue was not read"
    )
    return [
        printable(f"  {video.key}: {video.failure or f'no answer yet, {queue}'}")
        for video in run.videos
        if video.answered is None
    ]


def result_text(run: WorkloadRun, planned: int, is_queue_read: bool) -> str:
    """All of the above; only the uploads if the run did not wait for answers."""
    figures = summary_lines(run, planned)
    if not run.waited:
        return "\n".join(x for x in figures if not x.startswith(("answered", "names")))
    lines = []
    if run.videos:
        lines += [text_table(*without_empty(COLUMNS, video_rows(run))), ""]
    missing = missing_lines(run, is_queue_read)
    lines += figures + ([f"missing     {len(missing)}"] if missing else []) + missing
    return "\n".join(lines)
