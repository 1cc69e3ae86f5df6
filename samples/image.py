"""`make image`: the Dockerfile built for real, pushed, pulled, and run as Lambda would run it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import boto3
import click

from deploy.containers import Tool, build_argv, find_tool, pip_arguments, pip_volumes, push_argv
from deploy.containers import run_tool as run
from local_aws.process import LocalAWS
from pipeline.aws import AwsError
from pipeline.policies import lambda_trust, recognizer_permissions
from pipeline.settings import ROOT, Deployment
from samples.base_image import make_base_image, make_root
from samples.packages import SampleError, fetch_photos
from samples.registry import LayerSize, layer_sizes, read_config, read_manifest, registry
from samples.stack import ARCHITECTURE, BUILD, IMAGE, enrol, fetch_model, local_tag, say
from samples.videos import make_people

REPOSITORY = "face-recognition"
MAX_UNPACKED_BYTES = 1_200_000_000
MAX_COMPRESSED_BYTES = 450_000_000


def build_context(folder: Path, gallery: Path) -> Path:
    """Lay out what the Dockerfile copies, with a gallery beside it."""
    shutil.copytree(
        ROOT / "face-recognition",
        folder / "face-recognition",
        ignore=shutil.ignore_patterns("__pycache__", "models"),
    )
    for name in ("Dockerfile", ".dockerignore"):
        shutil.copy(ROOT / name, folder)
    shutil.copyfile(gallery, folder / "data.pt")
    return folder


def storage(name: str) -> Tool:
    """buildah with a storage of its own below build/, and no daemon, namespace or FUSE."""
    folder = BUILD / "containers" / name
    os.environ["BUILDAH_ISOLATION"] = "chroot"
    # vfs needs no mounts, which would outlive this script
    words = ("--storage-driver", "vfs", "--root", str(folder), "--runroot", f"{folder}-run")
    return Tool("buildah", words)


def build_and_push(context: Path, model: str, address: str, tool: str | None) -> str:
    """Build the image and push it to the registry; return its reference there."""
    name = f"{address}/{REPOSITORY}:{local_tag(context / 'data.pt', model)}"
    arguments = {"MODEL": model, **pip_arguments()}
    found = find_tool(tool)
    if found.name == "buildah":
        found = storage("build")
        root = make_root(BUILD / "base")
        arguments["BASE_IMAGE"] = make_base_image(found, root)
    say(f"Building the image with {found.name} ...")
    run(build_argv(found, context, name, ARCHITECTURE, arguments, pip_volumes(arguments)))
    say(f"Pushing it to {address} ...")
    run(push_argv(found, name, plain_http=True))
    return name


def unpack(reference: str, config: dict[str, Any], tag: str, target: Path) -> None:
    """Pull the image by digest into an empty storage and copy its files to `target`/rootfs."""
    buildah = storage("pull")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    say(f"Pulling {reference} ...")
    run(buildah.command("from", "--quiet", "--tls-verify=false", "--name", "pulled", reference))
    mounted = subprocess.run(
        buildah.command("mount", "pulled"), capture_output=True, text=True, check=True
    ).stdout.strip()
    subprocess.run(["cp", "-a", mounted, str(target / "rootfs")], check=True)
    (target / "tag").write_text(tag)
    (target / "config.json").write_text(json.dumps(config, indent=1))


def size_table(sizes: list[LayerSize]) -> str:
    """The layers as a table; raises SampleError when the image is larger than agreed."""
    lines = ["compressed    unpacked  layer"]
    for size in sizes:
        made_by = re.sub(r":[0-9a-f]{64}", "", size.made_by).replace("/bin/sh -c #(nop) ", "")
        made_by = "base image" if made_by == "/bin/sh" else " ".join(made_by.split())[:70]
        lines.append(
            f"{size.compressed / 1e6:7.1f} MB  {size.unpacked / 1e6:7.1f} MB  {made_by}".rstrip()
        )
    compressed, unpacked = sum(s.compressed for s in sizes), sum(s.unpacked for s in sizes)
    lines.append(f"{compressed / 1e6:7.1f} MB  {unpacked / 1e6:7.1f} MB  in all")
    text = "\n".join(lines)
    if unpacked > MAX_UNPACKED_BYTES or compressed > MAX_COMPRESSED_BYTES:
        raise SampleError(
            f"{text}\nThe image is too large: at most {MAX_UNPACKED_BYTES / 1e6:.0f} MB unpacked "
            f"and {MAX_COMPRESSED_BYTES / 1e6:.0f} MB compressed are agreed."
        )
    return text


def try_out(image: Path, model: str, frame: Path) -> dict[str, Any]:
    """A frame in, a name out: the unpacked image as a function of the local AWS."""
    deployment = Deployment("image")
    with LocalAWS(images={deployment.repository: image}) as aws:
        session = boto3.Session(
            aws_access_key_id=aws.environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=aws.environ["AWS_SECRET_ACCESS_KEY"],
            region_name=aws.region,
        )

        def client(service: str) -> Any:
            return session.client(service, endpoint_url=aws.endpoint)

        s3, iam, functions = client("s3"), client("iam"), client("lambda")
        for bucket in (deployment.stage_1_bucket, deployment.output_bucket):
            s3.create_bucket(Bucket=bucket)
        account = client("sts").get_caller_identity()["Account"]
        role = iam.create_role(
            RoleName="image", AssumeRolePolicyDocument=json.dumps(lambda_trust())
        )["Role"]["Arn"]
        permissions = recognizer_permissions(deployment, aws.region, account, "aws")
        iam.put_role_policy(
            RoleName="image", PolicyName="p", PolicyDocument=json.dumps(permissions)
        )
        function = deployment.recognizer
        variables = {**function.environment, "MODEL": model}
        functions.create_function(
            FunctionName=function.name,
            PackageType="Image",
            Role=role,
            Code={"ImageUri": f"{account}.dkr.ecr.{aws.region}.amazonaws.com/{REPOSITORY}:local"},
            MemorySize=function.memory_mb,
            Timeout=function.timeout_s,
            Environment={"Variables": {**variables, "OUTPUT_BUCKET": deployment.output_bucket}},
        )
        s3.upload_file(str(frame), deployment.stage_1_bucket, "frame.jpg")
        payload = {"bucket_name": deployment.stage_1_bucket, "image_file_name": "frame.jpg"}
        answer = functions.invoke(
            FunctionName=function.name, Payload=json.dumps(payload), LogType="Tail"
        )
        result: dict[str, Any] = json.load(answer["Payload"])
        if "FunctionError" in answer:
            raise SampleError(f"The image fails: {json.dumps(result)}")
        return result


@click.command()
@click.option("--model", help="facenet-vggface2 or sface; default: what can be had.")
@click.option(
    "--gallery",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The gallery to bake in; default: that of the sample people.",
)
@click.option("--tool", help="docker or buildah; default: what there is.")
def main(model: str | None, gallery: Path | None, tool: str | None) -> None:
    """Build the image, push and pull it on loopback, and try it: python -m samples.image"""
    try:
        chosen = fetch_model(model)
        photos = fetch_photos(BUILD / "samples" / "photos")
        gallery = gallery or enrol(make_people(photos, BUILD / "samples" / "people"), chosen)
        with tempfile.TemporaryDirectory(prefix="context-") as folder, registry() as address:
            context = build_context(Path(folder), gallery)
            name = build_and_push(context, chosen, address, tool)
            tag = name.rpartition(":")[2]
            digest, manifest = read_manifest(address, REPOSITORY, tag)
            config = read_config(address, REPOSITORY, manifest)
            sizes = size_table(layer_sizes(address, REPOSITORY, manifest, config))
            unpack(f"{address}/{REPOSITORY}@{digest}", config, tag, IMAGE)
        say("Running it: read-only, as a user without a home, under Lambda's runtime client ...")
        result = try_out(IMAGE, chosen, photos / "obama2.jpg")
    except (SampleError, AwsError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        shutil.rmtree(BUILD / "containers", ignore_errors=True)
    click.echo(sizes)
    click.echo(f"{digest}\n{json.dumps(result)}")
    sys.stdout.flush()
    names = [face["name"] for face in result["results"][0]["faces"]]
    if not names:
        raise click.ClickException("No face was found in the sample frame.")


if __name__ == "__main__":
    main()
