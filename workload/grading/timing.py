"""When a run took place and how long its answers took, from the run file or the objects."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.aws import Aws
from pipeline.keys import output_key
from pipeline.settings import Deployment
from workload.grading.checks import Holdings
from workload.grading.objects import of_their_uploads
from workload.running.buckets import s3_skew
from workload.running.run import WorkloadRun

OLDER = "all outputs are older than their videos, but of the same content"


@dataclass(frozen=True)
class Timing:
    """Times in seconds since the epoch, on S3's clock.

    `uploads`: when each video was uploaded, accurate to `precision_s`. `seconds`: from each video
    to its answer. `untimed`: why the existing answers have no known time; empty if there are none.
    `calls`: the least number of invocations of each function. `source`: where the times come from.
    """

    start: float
    end: float
    uploads: Sequence[float]
    precision_s: float
    seconds: Mapping[str, float]
    untimed: str
    calls: int
    source: str


def timing(aws: Aws, deployment: Deployment, held: Holdings, run: WorkloadRun | None) -> Timing:
    """From `run` if there is one and it waited for answers, else from the objects."""
    answered = [video for video in held.videos if output_key(video) in held.outputs]
    if run is None:
        return _of_objects(aws, deployment, held, answered)
    if not run.waited:
        by_objects = _of_objects(aws, deployment, held, answered)
        source = f"{by_objects.source}, as the run did not wait for answers"
        return replace(by_objects, source=source)
    return _of_run(run, bool(answered))


def _of_run(run: WorkloadRun, is_answered: bool) -> Timing:
    seen = [video for video in run.videos if video.answered is not None]
    unseen = "the run ended before it saw an answer; without --run, the objects' times are used"
    return Timing(
        start=run.started,
        end=run.ended,
        uploads=[video.stored for video in run.videos],
        precision_s=0.0,
        seconds={v.key: v.latency_s for v in run.videos if v.latency_s is not None},
        untimed=(OLDER if seen else unseen) if is_answered else "",
        calls=len(seen),
        source="from the run file",
    )


def _of_objects(
    aws: Aws, deployment: Deployment, held: Holdings, answered: Sequence[str]
) -> Timing:
    uploads = [item.modified for item in held.inputs.values()]
    end = max([*uploads, *(item.modified for item in held.outputs.values())], default=0.0)
    if len(answered) < len(held.videos) or not uploads:  # something may still run
        end = max(end, time.time() + s3_skew(aws.client("s3"), deployment.input_bucket))
    took = {
        video: held.outputs[output_key(video)].modified - held.inputs[video].modified
        for video in answered
    }
    # An output that the pipeline did not write is not an answer, so it cannot be a late one.
    timed = of_their_uploads(aws, held, [video for video in answered if took[video] >= 0])
    older = [v for v in answered if took[v] < 0 and output_key(v) not in held.stale]
    foreign = "no output's metadata names the upload of its video"
    return Timing(
        start=min(uploads, default=end),
        end=end,
        uploads=uploads,
        precision_s=1.0,  # LastModified is in whole seconds
        seconds={video: took[video] for video in answered if video in timed},
        untimed=(OLDER if older else foreign) if answered else "",
        calls=len(answered),
        source="from the objects' LastModified",
    )
