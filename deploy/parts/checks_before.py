"""Before deploying: the machine, the account, and the files that are deployed."""

from __future__ import annotations

import sys
from pathlib import Path

import boto3

from createS3 import is_ours
from deploy.layer import check_zip
from deploy.parts.checks import Check, check, passed
from deploy.parts.concurrency import read_concurrency
from deploy.parts.containers import check_disk, find_tool
from deploy.parts.gallery_file import check_gallery, check_gallery_in_s3
from deploy.parts.overrides import Overrides, setting
from deploy.parts.ownership import refuse_foreign
from pipeline.cli import Run
from pipeline.settings import ROOT

OLDEST_PYTHON = (3, 9)
OLDEST_BOTO3 = (1, 26, 26)  # knows SnapStart

# New accounts may not use more for one function, until they ask or have been used for a while.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
NEW_ACCOUNT_MEMORY_MB = 3008


def checks_before(
    run: Run, zip_path: Path, overrides: Overrides, deployed: bool = False
) -> list[Check]:
    """Everything that deploying needs; when the credentials fail, only what needs none.

    Once it is `deployed`, the layer is published and the gallery in the image: here they are needed
    to make others.
    """
    recognizer = run.deployment.recognizer
    model = setting(recognizer, overrides, "MODEL")
    gallery_uri = setting(recognizer, overrides, "GALLERY_URI")
    account = check(
        "credentials and region",
        lambda: f"account {run.aws.account_id}, region {run.aws.region}",
        "In AWS CloudShell there is nothing to do; elsewhere: aws configure, or --profile NAME.",
    )
    checks = [_python(), account]
    if account.result == "ok":
        checks += [_prefix(run), _names(run), _concurrency(run), _image_there(run)]
    checks.append(_memory(run))
    layer = check("ffmpeg layer", lambda: f"{zip_path} is for {check_zip(zip_path)}")
    if gallery_uri:
        gallery = check("gallery", lambda: _gallery_in_s3(run, gallery_uri, model))
    else:
        gallery = check("gallery", lambda: _gallery_here(ROOT / "data.pt", model))
    if deployed:
        layer = _as_warning(layer, "Needed to publish another layer only.")
        if not gallery_uri:
            gallery = _as_warning(gallery, "Needed to build another image only.")
    return [*checks, layer, gallery]


def _as_warning(found: Check, why: str) -> Check:
    """A failed check as a warning, with `why` it keeps nothing from working."""
    if found.result != "failed":
        return found
    return Check(found.name, "warning", found.detail, why)


def _python() -> Check:
    python = sys.version_info[:3]
    boto = tuple(int(part) for part in boto3.__version__.split(".")[:3])
    detail = f"Python {'.'.join(map(str, python))}, boto3 {boto3.__version__}"
    if python < OLDEST_PYTHON or boto < OLDEST_BOTO3:
        return Check("Python and boto3", "failed", detail, "pip install --user -U boto3 click")
    return passed("Python and boto3", detail)


def _image_there(run: Run) -> Check:
    """A container tool and the disk to build with; needed only until the image is in ECR."""

    def look() -> str:
        tool = find_tool()
        check_disk(tool)
        return f"{tool.name}, with room for the build"

    return _as_warning(
        check("container tool and disk", look),
        "Needed to build the image only: with --image-uri nothing is built.",
    )


def _prefix(run: Run) -> Check:
    def look() -> str:
        ours = [bucket for bucket in run.deployment.buckets if is_ours(run, bucket)]
        return f"ours already: {', '.join(ours)}" if ours else "free"

    return check("prefix", look)


def _names(run: Run) -> Check:
    def look() -> str:
        refuse_foreign(run)
        names = ", ".join(f"'{function.name}'" for function in run.deployment.functions)
        return f"{names} and their roles are free or ours"

    return check("functions' names", look)


def _concurrency(run: Run) -> Check:
    account = read_concurrency(run, run.deployment.splitter)
    if account.cap is None:
        return Check(
            "concurrency",
            "warning",
            f"{account.shortage}; each video holds two: more than {account.at_once} videos at a "
            "time can starve each other",
            f"Upload slowly (workload/generate.py --concurrency {max(1, account.at_once)}), or "
            f"{account.remedy}. The splitter is then capped by itself.",
        )
    return passed(
        "concurrency",
        f"{account.limit} in the account, {account.free} of them not reserved by others; the "
        f"splitter is capped at {account.cap}",
    )


def _memory(run: Run) -> Check:
    most = max(run.deployment.functions, key=lambda function: function.memory_mb)
    detail = f"'{most.name}' asks for {most.memory_mb} MB"
    if most.memory_mb > NEW_ACCOUNT_MEMORY_MB:
        return Check(
            "memory",
            "warning",
            f"{detail}; new accounts may have {NEW_ACCOUNT_MEMORY_MB} MB at most",
            f"If Lambda refuses it, set memory_mb in {most.key}/config.json to "
            f"{NEW_ACCOUNT_MEMORY_MB}.",
        )
    return passed("memory", f"{detail}, which new accounts may have, too")


def _gallery_here(path: Path, model: str) -> str:
    check_gallery(path, model)
    return f"{path} was made with {model}"


def _gallery_in_s3(run: Run, uri: str, model: str) -> str:
    size = check_gallery_in_s3(run, uri, model)
    return f"{uri}, {size:,} bytes, was made with {model}"
