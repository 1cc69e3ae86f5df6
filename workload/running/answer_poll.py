"""Finds answered videos by listing the output bucket."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pipeline.keys import output_key
from workload.running.buckets import head, objects
from workload.running.uploads import Sent

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Version = tuple[str, int]  # ETag and LastModified in seconds; changes when S3 stores the key again


def version_of(item: Mapping[str, Any]) -> Version:
    """The version of an object, from a listing or a HEAD response."""
    return item["ETag"], int(item["LastModified"].timestamp())


def common_prefix(keys: Collection[str]) -> str:
    """The longest prefix that all `keys` share, used to narrow a listing."""
    first, last = min(keys), max(keys)
    length = 0
    while length < len(first) and first[length] == last[length]:
        length += 1
    return first[:length]


class Answers:
    """Which videos of a run have been answered.

    An output that existed before the run counts only if its metadata names the ETag of the uploaded
    video: the recognizer does not rewrite an output when the same video is uploaded again.
    """

    def __init__(
        self, s3: S3Client, input_bucket: str, output_bucket: str, keys: Collection[str]
    ) -> None:
        """List the existing outputs. Create this before the first upload."""
        self._s3 = s3
        self._input_bucket = input_bucket
        self._output_bucket = output_bucket
        self._videos = {output_key(key): key for key in keys}
        self._prefix = common_prefix(self._videos)
        self._earlier: dict[str, Version] = {}
        self._seen_stale: dict[str, Version] = {}
        self.repeated: set[str] = set()  # answered by an output that existed before the run
        self.answered: set[str] = set()
        for item in objects(s3, output_bucket, self._prefix):
            if item["Key"] in self._videos:
                self._earlier[item["Key"]] = version_of(item)

    def poll(self, stored: dict[str, Sent]) -> list[str]:
        """The videos answered since the last call. `stored` are the uploads that S3 has."""
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
            outputs = [output for output, _ in doubtful]
            with ThreadPoolExecutor(max_workers=8) as pool:
                for (output, version), ours in zip(doubtful, pool.map(self._ours, outputs)):
                    if ours is None:
                        self._seen_stale[output] = version
                        continue
                    fresh.append(self._videos[output])
                    if ours == self._earlier[output]:
                        self.repeated.add(self._videos[output])
        self.answered.update(fresh)
        return fresh

    def _ours(self, output: str) -> Version | None:
        """The output's version if it was made from the video now in the input bucket, else None.

        The version is read again: the output may have been overwritten since it was listed.
        """
        video = head(self._s3, self._input_bucket, self._videos[output])
        answer = head(self._s3, self._output_bucket, output)
        if video is None or answer is None:  # deleted since the listing
            return None
        is_ours = answer["Metadata"].get("source-etag") == video["ETag"].strip('"')
        return version_of(answer) if is_ours else None
