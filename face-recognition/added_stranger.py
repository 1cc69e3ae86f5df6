"""Reads a stranger's embeddings for enroll.py: the report says where the run's bucket has them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import botocore.session
import numpy as np
from gallery import Array
from photos import EnrollError
from unknown_faces import StrangerError, embedding

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# What workload/report.py writes into its page: keys of objects, and no embedding.
REFERENCES = re.compile(r'<script type="application/json" id="strangers">(.*?)</script>', re.DOTALL)
# A gallery needs no more rows of one person, and the nearest to their mean are the least blurred.
MOST_ROWS = 5


@dataclass(frozen=True)
class AddedStranger:
    """Somebody's embeddings, where each came from, and how they were made."""

    model: str
    image_size: int
    labels: tuple[str, ...]
    embeddings: tuple[Array, ...]


def read_stranger(report: Path, number: str, s3: S3Client | None = None) -> AddedStranger:
    """Stranger `number` of a report, from S3 with the credentials of this shell.

    A run's file stands for the page beside it. Raises EnrollError if the page has no such stranger,
    if an embedding has expired, or if S3 denies access.
    """
    page = report.with_suffix(".html") if report.suffix == ".json" else report
    found = _references(page)
    faces = found["strangers"].get(number)
    if faces is None:
        numbers = ", ".join(found["strangers"])
        raise EnrollError(f"{page} has no stranger {number}: it has {numbers}.")
    bucket, rows, labels = found["bucket"], list[Array](), list[str]()
    try:
        # typed by its stubs only through boto3
        client: Any = s3 or botocore.session.get_session().create_client("s3", found["region"])
        for face in faces:
            body = client.get_object(Bucket=bucket, Key=face["key"])["Body"].read()
            model, size, row = embedding(body, face["face"])
            rows.append(row)
            labels.append(face["key"])
    except StrangerError as error:
        raise EnrollError(f"Cannot use s3://{bucket}/{face['key']}: {error}.") from error
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        raise EnrollError(
            f"Cannot read the embeddings of stranger {number} in s3://{bucket}/: {error}. They "
            "expire with their frames: run the videos again with KEEP_EMBEDDINGS=1, and write the "
            "report again. It takes s3:GetObject on the bucket."
        ) from error
    matrix = np.stack(rows)
    nearest = np.argsort(-(matrix @ matrix.mean(axis=0)), kind="stable")[:MOST_ROWS]
    chosen = [int(index) for index in nearest]
    return AddedStranger(
        *(model, size), tuple(labels[at] for at in chosen), tuple(matrix[at] for at in chosen)
    )


def _references(page: Path) -> dict[str, Any]:
    """The bucket, its region, and where each stranger's embeddings are in it."""
    try:
        found = REFERENCES.search(page.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise EnrollError(
            f"Cannot read {page}: {error}. Pass a report that workload/report.py wrote."
        ) from error
    if found is None:
        raise EnrollError(
            f"{page} shows no strangers: deploy with --set face-recognition.KEEP_EMBEDDINGS=1, run "
            "the videos again, and write the report again."
        )
    references: dict[str, Any] = json.loads(found[1])
    return references
