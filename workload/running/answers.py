"""Sees, by listing the output bucket, which videos have their answer."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pipeline.keys import output_key
from workload.running.buckets import head, objects
from workload.running.uploads import Sent

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef, ObjectTypeDef

Version = tuple[str, int]  # an object's ETag and second of writing; another when overwritten


def version_of(item: ObjectTypeDef | HeadObjectOutputTypeDef) -> Version:
    """The version of an object, as listed or from a HEAD."""
    return item["ETag"], int(item["LastModified"].timestamp())


def common_prefix(keys: Collection[str]) -> str:
    """What all `keys` start with: it narrows a listing."""
    first, last = min(keys), max(keys)
    length = 0
    while length < len(first) and first[length] == last[length]:
        length += 1
    return first[:length]


class Answers:
    """Which of a run's videos have an output, and one of this run's upload.

    An output that was there before counts once its metadata name the uploaded object's ETag: the
    recognizer leaves an output as it is when the same video is uploaded again.
    """

    def __init__(self, s3: Any, input_bucket: str, output_bucket: str, keys: Collection[str]):
        """List the outputs there are now: make it before the uploads begin."""
        self._s3 = s3
        self._input_bucket = input_bucket
        self._output_bucket = output_bucket
        self._videos = {output_key(key): key for key in keys}
        self._prefix = common_prefix(self._videos)
        self._earlier: dict[str, Version] = {}
        self._seen_stale: dict[str, Version] = {}
        self.repeated: set[str] = set()  # videos whose output was there before, and still holds
        self.answered: set[str] = set()
        for item in objects(s3, output_bucket, self._prefix):
            if item["Key"] in self._videos:
                self._earlier[item["Key"]] = version_of(item)

    def poll(self, stored: dict[str, Sent]) -> list[str]:
        """The videos found answered since the last call; `stored` are those that S3 has now."""
        fresh, doubtful = [], []
        for item in objects(self._s3, self._output_bucket, self._prefix):
            output = item["Key"]
            video = self._videos.get(output)
            if video is None or video in self.answered:
                continue
            version = version_of(item)
            if output not in self._earlier:
                fresh.append(video)
            elif video in stored and self._seen_stale.get(output) != version:
                doubtful.append((output, version))
        if doubtful:
            with ThreadPoolExecutor(max_workers=8) as pool:
                for (output, version), ours in zip(doubtful, pool.map(self._ours, doubtful)):
                    if ours is None:
                        self._seen_stale[output] = version
                        continue
                    fresh.append(self._videos[output])
                    if ours == self._earlier[output]:
                        self.repeated.add(self._videos[output])
        self.answered.update(fresh)
        return fresh

    def _ours(self, doubtful: tuple[str, Version]) -> Version | None:
        """The output's version if it was made from the video that the input bucket has now.

        The version is read again, as the output may be another than when it was listed.
        """
        output, _ = doubtful
        video = head(self._s3, self._input_bucket, self._videos[output])
        answer = head(self._s3, self._output_bucket, output)
        if video is None or answer is None:  # deleted since it was listed
            return None
        is_ours = answer["Metadata"].get("source-etag") == video["ETag"].strip('"')
        return version_of(answer) if is_ours else None
