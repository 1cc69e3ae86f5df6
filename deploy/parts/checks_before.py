"""Checks before deploying: the machine, the account, and the files to deploy."""

from __future__ import annotations

import sys
from pathlib import Path

import boto3

from deploy.parts.checks import Check, account_check, check, passed
from deploy.parts.concurrency import read_concurrency
from deploy.parts.containers import BUILD_GB, usable_tool
from deploy.parts.ffmpeg_layer import check_zip
from deploy.parts.gallery_file import check_gallery, check_gallery_in_s3
from deploy.parts.ownership import refuse_foreign
from pipeline.bucket_admin import bucket_exists, name_taken
from pipeline.cli import Run
from pipeline.settings import ROOT

OLDEST_PYTHON = (3, 9)
OLDEST_BOTO3 = (1, 26, 26)  # the first with SnapStart

# The most memory that a new account can give a function, until it asks or has been used for some
# time.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
NEW_ACCOUNT_MEMORY_MB = 3008


def checks_before(run: Run, zip_path: Path, deployed: bool = False) -> list[Check]:
    """Check everything that deploying needs; without valid credentials, only local things.

    Once it is `deployed`, the layer is published and the image includes the gallery, so a missing
    layer zip or gallery file is only a warning.
    """
    recognizer = run.deployment.recognizer
    model = recognizer.environment["MODEL"]
    gallery_uri = recognizer.environment["GALLERY_URI"]
    account = account_check(run)
    checks = [_python(), account]
    if account.result == "ok":
        checks += [
            check("prefix", lambda: _prefix(run)),
            check("functions' names", lambda: _names(run)),
            _concurrency(run),
            _can_build(),
        ]
    checks.append(_memory(run))
    layer = check("ffmpeg layer", lambda: f"{zip_path} is for {check_zip(zip_path)}")
    if deployed:
        layer = _as_warning(layer, "Needed only to publish another layer.")
    checks.append(layer)
    if gallery_uri and account.result == "ok":
        checks.append(check("gallery", lambda: _gallery_in_s3(run, gallery_uri, model)))
    elif not gallery_uri:
        gallery = check("gallery", lambda: _gallery_here(ROOT / "data.pt", model))
        needed = "Needed only to build another image."
        checks.append(_as_warning(gallery, needed) if deployed else gallery)
    return checks


def _as_warning(found: Check, why: str) -> Check:
    """Turn a failed check into a warning; `why` says what still works."""
    if found.result != "failed":
        return found
    return Check(found.name, "warning", found.detail, why)


def _python() -> Check:
    python = sys.version_info[:3]
    boto = tuple(int(part) for part in boto3.__version__.split(".")[:3])
    detail = f"Python {'.'.join(map(str, python))}, boto3 {boto3.__version__}"
    if python < OLDEST_PYTHON or boto < OLDEST_BOTO3:
        return Check(
            "Python and boto3", "failed", detail, "python3 -m pip install --user -U boto3 click"
        )
    return passed("Python and boto3", detail)


def _can_build() -> Check:
    """Check the container tool, the disk space and the memory for a build."""
    return _as_warning(
        check("container tool, disk and memory", _container_tool),
        "Needed only to build the image: with --image-uri nothing is built.",
    )


def _container_tool() -> str:
    return f"{usable_tool(None, BUILD_GB).name}, with enough disk and memory to build"


def _prefix(run: Run) -> str:
    ours = [
        bucket
        for bucket in run.deployment.buckets
        if bucket_exists(run.aws, bucket, forbidden=name_taken(bucket))
    ]
    return f"ours already: {', '.join(ours)}" if ours else "free"


def _names(run: Run) -> str:
    refuse_foreign(run)
    names = ", ".join(f"'{function.name}'" for function in run.deployment.functions)
    return f"{names} and their roles are free or ours"


def _concurrency(run: Run) -> Check:
    account = read_concurrency(run, run.deployment.splitter)
    if account.needs_queue:
        again = f"To run more, {account.remedy} and deploy again, which caps the splitter instead."
        return Check("concurrency", "warning", f"{account.shortage}. {account.waiting}", again)
    if account.cap is None:
        return Check(
            "concurrency",
            "warning",
            f"{account.shortage}; a video needs two at once, and videos can starve each other",
            f"Upload videos one by one, or {account.remedy} and deploy again.",
        )
    return passed(
        "concurrency",
        f"{account.limit} in the account, {account.free} of them not reserved by others; the "
        f"splitter is capped at {account.cap}",
    )


def _memory(run: Run) -> Check:
    most = max(run.deployment.functions, key=lambda function: function.memory_mb)
    detail = f"'{most.name}' needs {most.memory_mb} MB"
    if most.memory_mb > NEW_ACCOUNT_MEMORY_MB:
        return Check(
            "memory",
            "warning",
            f"{detail}; new accounts can have at most {NEW_ACCOUNT_MEMORY_MB} MB",
            f"If Lambda refuses it: --set {most.key}.memory_mb={NEW_ACCOUNT_MEMORY_MB}",
        )
    return passed("memory", f"{detail}, which new accounts can have")


def _gallery_here(path: Path, model: str) -> str:
    check_gallery(path, model)
    return f"{path} was made with {model}"


def _gallery_in_s3(run: Run, uri: str, model: str) -> str:
    size = check_gallery_in_s3(run, uri, model)
    return f"{uri}, {size:,} bytes, was made with {model}"
