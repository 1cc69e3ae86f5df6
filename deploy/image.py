#!/usr/bin/env python3
"""The recognizer's image: built from the Dockerfile and pushed to private ECR."""

from __future__ import annotations

import base64
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from deploy.parts.containers import (
    BUILD_GB,
    PLATFORMS,
    REBUILD_GB,
    Tool,
    build_argv,
    docker_config,
    docker_daemon,
    login_argv,
    pip_arguments,
    pip_volumes,
    push_argv,
    run_tool,
    usable_tool,
)
from deploy.parts.gallery_file import check_gallery
from deploy.parts.repository import ensure_repository, find_image
from deploy.parts.targets import check_image_uri
from pipeline.aws import AwsError
from pipeline.cli import Run, deployment_options
from pipeline.settings import ROOT


def image_tag(
    context: Path,
    gallery: Path,
    model: str,
    architecture: str,
    base_image: str | None = None,
    engine: str = "ncnn",
) -> str:
    """Return a tag that is a hash of everything the image is built from.

    `base_image` replaces the Dockerfile's base image.
    """
    digest = hashlib.sha256(
        " ".join(filter(None, (model, architecture, engine, base_image))).encode()
    )
    files = [context / "Dockerfile", gallery]
    files += sorted((context / "face-recognition").glob("*.py"))
    files += sorted((context / "face-recognition").glob("requirements*.txt"))
    for path in (path for path in files if path.exists()):
        name = "data.pt" if path == gallery else path.name
        about = path.stat()
        digest.update(f"{name} {about.st_size} {about.st_mode & 0o777:o}\n".encode())
        digest.update(path.read_bytes())
    return f"{model}-{digest.hexdigest()[:16]}"


def check_build(
    run: Run,
    model: str,
    architecture: str,
    tool_name: str | None,
    base_image: str | None,
    free_gb: float,
    engine: str = "ncnn",
) -> None:
    """Raise AwsError if the image must be built and there is no tool, disk or memory for that."""
    tag = image_tag(ROOT, ROOT / "data.pt", model, architecture, base_image, engine)
    if find_image(run, tag) is None:
        usable_tool(tool_name, free_gb)


def ensure_image(
    run: Run,
    model: str,
    architecture: str = "x86_64",
    gallery_uri: str = "",
    tool_name: str | None = None,
    base_image: str | None = None,
    context: Path = ROOT,
    free_gb: float = BUILD_GB,
    engine: str = "ncnn",
) -> str:
    """Return the image's URI, by digest; build and push it unless ECR has the same build.

    Raises AwsError if there is no gallery for `model`, no container tool, not enough memory, or
    less than `free_gb` of free disk space.
    """
    if not gallery_uri:
        check_gallery(context / "data.pt", model)
    repository = ensure_repository(run)
    tag = image_tag(context, context / "data.pt", model, architecture, base_image, engine)
    digest = find_image(run, tag)
    if digest is not None:
        run.kept(f"image '{run.deployment.repository}:{tag}'")
        return f"{repository}@{digest}"
    name = f"{repository}:{tag}"
    if run.dry_run:
        run.change("build and push", f"image '{name}'", lambda: None)
        return f"{repository}@sha256:(not built yet)"
    tool = usable_tool(tool_name, free_gb)
    arguments = {"MODEL": model, "ENGINE": engine, **pip_arguments()}
    if base_image:
        arguments["BASE_IMAGE"] = base_image
    volumes = pip_volumes(arguments)
    build = build_argv(tool, context, name, architecture, arguments, volumes)
    run.change("build", f"image '{name}' with {tool.name}", lambda: run_tool(build))
    run.change("push", f"image '{name}'", lambda: _push(run, tool, name))
    digest = find_image(run, tag)
    if digest is None:
        raise AwsError(f"Image '{name}' was pushed, but ECR does not list it: try again.")
    return f"{repository}@{digest}"


def _push(run: Run, tool: Tool, name: str) -> None:
    token = run.aws.client("ecr").get_authorization_token()["authorizationData"][0]
    password = base64.b64decode(token["authorizationToken"]).decode().partition(":")[2]
    plain_http = token["proxyEndpoint"].startswith("http://")  # the local AWS's
    registry = name.partition("/")[0]
    with tempfile.TemporaryDirectory(prefix="registry-") as folder:
        environ = {**docker_config(Path(folder), registry), **docker_daemon(tool)}
        run_tool(login_argv(tool, registry, plain_http), password, environ)
        run_tool(push_argv(tool, name, plain_http), environ=environ)


image_option = click.option(
    "--image-uri",
    callback=lambda _context, _option, uri: uri or None,
    help="The recognizer's image in private ECR; default: deploy.py builds one, and the other "
    "commands keep the function's current image.",
)


def image_options(function: Any) -> Any:
    """Add the options of the commands that build the image."""
    for option in (
        click.option(
            "--tool", help="docker, finch, podman or buildah; default: the first that works."
        ),
        click.option("--base-image", help="A base image to use instead of Lambda's own."),
        click.option(
            "--free-gb",
            type=click.FloatRange(min=0),
            default=BUILD_GB,
            show_default=True,
            help="GB of free disk space required to build; "
            f"{REBUILD_GB} is enough if the layers of an earlier build are still there.",
        ),
        click.option(
            "--platform",
            "architecture",
            type=click.Choice(sorted(PLATFORMS)),
            default="x86_64",
            show_default=True,
            help="The processor that both functions run on; the ffmpeg layer must match it.",
        ),
    ):
        function = option(function)
    return function


@click.command()
@deployment_options
@image_option
@image_options
@click.option("--model", help="facenet-vggface2 or sface; default: the setting MODEL.")
@click.option("--engine", help="ncnn or torch; default: the setting ENGINE.")
@click.option(
    "--gallery-uri", help="A gallery in S3, for an image without one; default: GALLERY_URI."
)
def main(
    run: Run,
    image_uri: str | None,
    tool: str | None,
    base_image: str | None,
    free_gb: float,
    architecture: str,
    model: str | None,
    engine: str | None,
    gallery_uri: str | None,
) -> None:
    """Build the image and push it to ECR: python3 deploy/image.py --prefix 1225111111

    With --image-uri, or image-uri in the deployment's file, that image is used and none is built;
    --image-uri '' builds one anyway.
    """
    settings = run.deployment.recognizer.environment
    model, engine = model or settings["MODEL"], engine or settings["ENGINE"]
    gallery_uri = settings["GALLERY_URI"] if gallery_uri is None else gallery_uri
    if image_uri:
        check_image_uri(run, image_uri)
        run.kept(f"image '{image_uri}', which --image-uri or {run.path.name} names: nothing built")
        uri = image_uri
    else:
        uri = ensure_image(
            *(run, model, architecture, gallery_uri, tool, base_image),
            free_gb=free_gb,
            engine=engine,
        )
    click.echo(uri)
    click.echo(
        f"Next: {run.command('deploy/functions.py', '--image-uri', uri)}",
        err=True,
    )


if __name__ == "__main__":
    main()
