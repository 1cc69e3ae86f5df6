"""`make image`: build the Dockerfile, push and pull the image, and run it as Lambda would."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from deploy.image import ensure_image
from deploy.parts.containers import find_tool, run_tool
from local_aws.process import LocalAWS, StartError
from pipeline.aws import Aws, AwsError
from pipeline.cli import Run, about_options
from pipeline.policies import lambda_trust, recognizer_permissions
from pipeline.settings import ROOT, Deployment
from samples.base_image import make_base_image, make_root
from samples.clips import make_people
from samples.one_at_a_time import one_at_a_time
from samples.packages import SampleError, fetch_photos
from samples.pushed_image import LayerSize, PushedImage
from samples.sbom import bill_of_materials
from samples.stack import (
    ARCHITECTURE,
    BUILD,
    IMAGE,
    client_side,
    engine,
    enroll,
    fetch_model,
    local_tag,
    say,
)
from samples.undisturbed import undisturbed

DEPLOYMENT = Deployment("image")
BILL = BUILD / "image.cdx.json"
# What the image may add to its base, unpacked and compressed, by engine.
MAX_ADDED_BYTES = {"ncnn": (260_000_000, 140_000_000), "torch": (1_050_000_000, 400_000_000)}


@contextmanager
def private_files() -> Iterator[None]:
    """Make files that only their owner may read, as on a builder with umask 077.

    Lambda's user must be able to read the image all the same.
    """
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@private_files()
def build_context(folder: Path, gallery: Path) -> Path:
    """Copy everything the Dockerfile needs, and the gallery, into `folder`."""
    shutil.copytree(
        ROOT / "face-recognition",
        folder / "face-recognition",
        ignore=shutil.ignore_patterns("__pycache__", "models"),
        copy_function=shutil.copyfile,  # without the modes of this checkout
    )
    for name in ("Dockerfile", ".dockerignore"):
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copyfile(gallery, folder / "data.pt")
    return folder


def use_storage(name: str) -> None:
    """Make buildah keep its images in build/ and run build steps without a namespace.

    The overlay driver is preferred, but often fails inside a container. vfs works everywhere; it
    copies the whole image at every build step, which takes 4 s each time.
    """
    folder = BUILD / "containers" / name
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "storage.conf"
    os.environ.update(CONTAINERS_STORAGE_CONF=str(settings), BUILDAH_ISOLATION="chroot")
    for driver in ("overlay", "vfs"):
        graph, run = folder / driver, folder / f"{driver}-run"
        settings.write_text(
            f'[storage]\ndriver = "{driver}"\ngraphroot = "{graph}"\nrunroot = "{run}"\n'
        )
        if _buildah("info", check=False).returncode == 0:
            return


def _buildah(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["buildah", *words], capture_output=True, text=True, check=check)


def build_and_push(aws: Aws, context: Path, model: str, wanted: str | None) -> str:
    """Build the image, push it to ECR with deploy/image.py, and return its URI with the digest."""
    use_storage("build")
    tool, base_image = find_tool(wanted), None
    if tool.name == "buildah":
        base_image = make_base_image(tool, make_root(BUILD / "base"))
    say(f"Building the image with {tool.name} and pushing it to the local AWS's ECR ...")
    with private_files():
        return ensure_image(
            *(Run(DEPLOYMENT, aws), model, ARCHITECTURE),
            tool_name=tool.name,
            base_image=base_image,
            context=context,
            engine=engine(),
        )


def pull(uri: str, image: PushedImage, tag: str, target: Path) -> None:
    """Pull the image by digest into empty storage and copy its files to `target`/rootfs."""
    use_storage("pull")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    say(f"Pulling {uri} ...")
    sign_in = ["--tls-verify=false", "--creds", image.credentials]
    run_tool(["buildah", "from", "--quiet", *sign_in, "--name", "pulled", uri])
    mounted = _buildah("mount", "pulled").stdout.strip()
    try:
        subprocess.run(["cp", "-a", mounted, str(target / "rootfs")], check=True)
    finally:
        _buildah("rm", "pulled")  # also unmounts it; the mount would outlive this script
    (target / "tag").write_text(tag)
    (target / "config.json").write_text(json.dumps(image.config, indent=1))


def size_table(sizes: list[LayerSize]) -> str:
    """The layers as a table; raises SampleError if the image is over the size limits."""
    lines = ["compressed    unpacked  layer"]
    for size in sizes:
        made_by = re.sub(r":[0-9a-f]{64}", "", size.made_by).replace("/bin/sh -c #(nop) ", "")
        made_by = "base image" if made_by == "/bin/sh" else " ".join(made_by.split())[:70]
        lines.append(
            f"{size.compressed / 1e6:7.1f} MB  {size.unpacked / 1e6:7.1f} MB  {made_by}".rstrip()
        )
    compressed, unpacked = sum(s.compressed for s in sizes), sum(s.unpacked for s in sizes)
    lines.append(f"{compressed / 1e6:7.1f} MB  {unpacked / 1e6:7.1f} MB  total")
    compressed -= sizes[0].compressed
    unpacked -= sizes[0].unpacked
    lines.append(f"{compressed / 1e6:7.1f} MB  {unpacked / 1e6:7.1f} MB  added to the base image")
    text = "\n".join(lines)
    most_unpacked, most_compressed = MAX_ADDED_BYTES[engine()]
    if unpacked > most_unpacked or compressed > most_compressed:
        raise SampleError(
            f"{text}\nThe image is too large: it may add {most_unpacked / 1e6:.0f} MB unpacked and "
            f"{most_compressed / 1e6:.0f} MB compressed."
        )
    return text


def invoke_once(aws: Aws, uri: str, model: str, frame: Path) -> dict[str, Any]:
    """Create a function from the pushed image, send it one frame and return its response."""
    s3, iam, functions = aws.client("s3"), aws.client("iam"), aws.client("lambda")
    for bucket in (DEPLOYMENT.stage_1_bucket, DEPLOYMENT.output_bucket):
        s3.create_bucket(Bucket=bucket)
    role = iam.create_role(RoleName="image", AssumeRolePolicyDocument=json.dumps(lambda_trust()))
    permissions = recognizer_permissions(DEPLOYMENT, aws.region, aws.account_id, aws.partition)
    iam.put_role_policy(RoleName="image", PolicyName="p", PolicyDocument=json.dumps(permissions))
    function = DEPLOYMENT.recognizer
    variables = {**function.environment, "MODEL": model, "ENGINE": engine()}
    variables["OUTPUT_BUCKET"] = DEPLOYMENT.output_bucket
    functions.create_function(
        FunctionName=function.name,
        PackageType="Image",
        Role=role["Role"]["Arn"],
        Code={"ImageUri": uri},
        MemorySize=function.memory_mb,
        Timeout=function.timeout_s,
        Environment={"Variables": variables},
    )
    s3.upload_file(str(frame), DEPLOYMENT.stage_1_bucket, "frame.jpg")
    payload = {"bucket_name": DEPLOYMENT.stage_1_bucket, "image_file_name": "frame.jpg"}
    answer = functions.invoke(FunctionName=function.name, Payload=json.dumps(payload))
    result: dict[str, Any] = json.load(answer["Payload"])
    if answer.get("FunctionError"):
        raise SampleError(f"The function in the image failed: {json.dumps(result)}")
    return result


@click.command()
@about_options
@click.option("--model", help="facenet-vggface2 or sface; default: the first available.")
@click.option(
    "--gallery",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The gallery to bake in; default: the sample people.",
)
@click.option("--tool", help="docker or buildah; default: whichever is installed.")
def main(model: str | None, gallery: Path | None, tool: str | None) -> None:
    """Build the image, push and pull it locally, and run it: python3 -m samples.build_image"""
    try:
        if shutil.which("buildah") is None:
            raise SampleError(
                "buildah is not installed: apt-get install buildah. It is needed to pull and "
                "unpack the image, even if docker builds it."
            )
        with (
            undisturbed(),
            tempfile.TemporaryDirectory(prefix="context-") as folder,
            LocalAWS() as local,
        ):
            aws = client_side(local)
            with one_at_a_time():  # until the gallery has been copied
                chosen = fetch_model(model)
                photos = fetch_photos(BUILD / "samples" / "photos")
                people = make_people(photos, BUILD / "samples" / "people")
                context = build_context(Path(folder), gallery or enroll(people, chosen))
            uri = build_and_push(aws, context, chosen, tool)
            image = PushedImage(aws.client("ecr"), uri)
            sizes = size_table(image.layer_sizes())
            pull(uri, image, local_tag(context / "data.pt", chosen), IMAGE)
            layer = BUILD / "ffmpeg.zip"
            bill = bill_of_materials(
                IMAGE / "rootfs", image.digest, layer if layer.exists() else None
            )
            BILL.write_text(json.dumps(bill, indent=1) + "\n")
            say(f"Its bill of materials (CycloneDX) is {BILL.relative_to(ROOT)}.")
            say("Running it under Lambda's runtime client: read-only, as a user without a home ...")
            result = invoke_once(aws, uri, chosen, photos / "obama2.jpg")
    except (SampleError, AwsError, StartError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        shutil.rmtree(BUILD / "containers", ignore_errors=True)
    click.echo(sizes)
    click.echo(f"{image.digest}\n{json.dumps(result)}")
    sys.stdout.flush()
    names = [face["name"] for face in result["results"][0]["faces"]]
    if not names:
        raise click.ClickException("The function found no face in the sample frame.")


if __name__ == "__main__":
    main()
