"""The whole pipeline on this machine: the model, the gallery, the local AWS and a deployment."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.image import image_tag
from deploy.parts.gallery_file import gallery_model
from local_aws.client_environ import isolated
from local_aws.process import LocalAWS
from pipeline.aws import Aws
from pipeline.deployment_file import write_file
from pipeline.names import printable_lines
from pipeline.setting_table import read_words
from pipeline.settings import ROOT, Deployment
from samples.one_at_a_time import one_at_a_time
from samples.packages import SampleError, fetch_photos

BUILD = ROOT / "build"
# Where `make image` unpacks the image it built, for the local AWS to run.
IMAGE = BUILD / "image"
RECOGNIZER = ROOT / "face-recognition"
GALLERY = ROOT / "data.pt"  # the user's own, which the deploy scripts use as well
MODELS = ("facenet-vggface2", "sface")  # in order of preference
# The local AWS maps the repository name to a folder and runs the image from there. 123456789012
# is the account that moto gives to everybody.
REGISTRY = "123456789012.dkr.ecr.{region}.amazonaws.com"
# Lambda's name for this machine's processor.
ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), "x86_64")


@dataclass(frozen=True)
class Stack:
    """A deployed pipeline: the AWS it runs on, its names, its model and its file of settings."""

    aws: LocalAWS
    deployment: Deployment
    model: str
    config: Path


def say(text: str) -> None:
    """Report progress on stderr."""
    print(printable_lines(text), file=sys.stderr, flush=True)


def client_side(aws: LocalAWS) -> Aws:
    """Clients for the local AWS with the user's keys."""
    keys = (aws.environ["AWS_ACCESS_KEY_ID"], aws.environ["AWS_SECRET_ACCESS_KEY"])
    return Aws(region=aws.region, endpoint_url=aws.endpoint, keys=keys)


def fetch_model(wanted: str | None) -> str:
    """Fetch `wanted`, or the first available of MODELS; return its name.

    Raises SampleError if none is available: nothing ever runs on untrained weights.
    """
    refusals: dict[str, str] = {}
    for name in [wanted] if wanted else MODELS:
        fetch = [sys.executable, str(RECOGNIZER / "models.py"), "fetch", name]
        fetch += ["--dir", str(BUILD / "models")]
        run = subprocess.run(fetch, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        if run.returncode == 0:
            why = [f"{other} is not available: {reason}" for other, reason in refusals.items()]
            say(f"Model: {name}" + (f" ({'; '.join(why)})" if why else ""))
            return name
        refusals[name] = _reason(run.stderr)
    raise SampleError(f"No face recognition model is available: {run.stderr.strip()}")


def _reason(text: str) -> str:
    """The first source that models.py tried and why it failed: the first indented line."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("  ")]
    return lines[0] if lines else text.strip()


def networks(model: str) -> Path:
    """The folder with the networks that the recognizer loads, made by export.py if need be.

    With ENGINE=torch in the environment, the folder with the model files. Raises SampleError if
    export.py fails.
    """
    if engine() == "torch":
        return BUILD / "models"
    with one_at_a_time():
        command = [sys.executable, str(RECOGNIZER / "export.py"), model]
        command += ["--models-dir", str(BUILD / "models"), "--cache", str(BUILD / "networks")]
        command += ["--photos", str(fetch_photos(BUILD / "samples" / "photos"))]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        raise SampleError(f"Cannot make the networks for {model}: see above.")
    return Path(run.stdout.strip())


def enroll(people: Path, model: str) -> Path:
    """Enroll the photos in `people` with enroll.py and return the path of the gallery.

    A gallery instead of a folder of photos is returned as it is. Raises SampleError if enroll.py
    fails.
    """
    if people.is_file():
        return people
    gallery = BUILD / f"gallery-{model}.pt"
    command = [sys.executable, str(RECOGNIZER / "enroll.py"), str(people), "--model", model]
    command += ["--output", str(gallery), "--models-dir", str(networks(model))]
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        raise SampleError(f"Cannot enroll the people in {people}: see above.")
    return gallery


def assemble_image(gallery: Path, model: str, folder: Path) -> Path:
    """Fill the empty `folder` as the image's task root: code, gallery and networks."""
    (folder / "models").mkdir()
    for module in RECOGNIZER.glob("*.py"):
        shutil.copy(module, folder)
    shutil.copyfile(gallery, folder / "data.pt")
    s3_data = [sys.executable, str(RECOGNIZER / "s3_data.py"), str(folder / "s3-data")]
    subprocess.run(s3_data, check=True)
    source = networks(model)
    for file in source.iterdir():
        if source != BUILD / "models" or file.name.startswith(model):
            os.link(file, folder / "models" / file.name)
    return folder


def engine() -> str:
    """What runs the networks: ENGINE in the environment, else config.json's."""
    return os.environ.get("ENGINE") or Deployment("any").recognizer.environment["ENGINE"]


def local_tag(gallery: Path, model: str) -> str:
    """The tag of an image built from this checkout and gallery on this machine."""
    return image_tag(ROOT, gallery, model, ARCHITECTURE, engine=engine())


@contextmanager
def image_folder(gallery: Path, model: str) -> Iterator[Path]:
    """The image that `make image` built, if up to date; else a task root made for this run."""
    tag = IMAGE / "tag"
    if tag.is_file() and tag.read_text() == local_tag(gallery, model):
        say(f"face-recognition runs from the image in {IMAGE.relative_to(ROOT)}")
        yield IMAGE
        return
    reason = "the image is out of date" if tag.is_file() else "there is no image"
    say(f"face-recognition runs from its folder, because {reason} (`make image` builds one)")
    # In build/, so that the networks can be hard-linked instead of copied.
    with tempfile.TemporaryDirectory(prefix="image-", dir=BUILD) as folder:
        yield assemble_image(gallery, model, Path(folder))


def deploy(aws: LocalAWS, deployment: Deployment, config: Path, has_alarms: bool = False) -> None:
    """Write the deployment's file, and run createS3.py and deploy/deploy.py with it, as a user.

    Alarms never go off here and take half a second, so only who may look at them gets them.

    Raises SampleError if a script fails.
    """
    options = {
        **deployment.names,
        "region": aws.region,
        "endpoint-url": aws.endpoint,
        "image-uri": f"{REGISTRY.format(region=aws.region)}/{deployment.repository}:local",
        "alarms": "yes" if has_alarms else "no",
    }
    write_file(config, options, deployment.settings)
    for script in ("createS3.py", "deploy/deploy.py"):
        say(f"Running {script} ...")
        run = subprocess.run(
            [sys.executable, str(ROOT / script)],
            env={**isolated(os.environ), **aws.environ, "PIPELINE_CONFIG": str(config)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        if run.returncode != 0:
            raise SampleError(f"{script} failed:\n{run.stderr.strip()}")


@contextmanager
def running(
    deployment: Deployment,
    people: Path,
    model: str | None = None,
    port: int | None = 0,
    settings: dict[str, str] | None = None,
    aws_settings: Mapping[str, object] | None = None,
    has_alarms: bool = False,
) -> Iterator[Stack]:
    """A local AWS with the pipeline deployed on it; both last as long as the context.

    `people` is a folder of photos or a gallery. `settings` are FUNCTION.NAME: VALUE. Raises
    SettingsError if one of them is wrong.
    """
    with ExitStack() as until_the_end:
        with one_at_a_time():  # until this run has its own copy of the gallery
            chosen = fetch_model(model or (gallery_model(people) if people.is_file() else None))
            say(
                f"{'Using the gallery' if people.is_file() else 'Enrolling the people in'} {people}"
            )
            image = until_the_end.enter_context(image_folder(enroll(people, chosen), chosen))
        say("Starting the local AWS ...")
        images = {deployment.repository: image}
        with LocalAWS(images=images, port=port, **(aws_settings or {})) as aws:
            folder = until_the_end.enter_context(
                tempfile.TemporaryDirectory(prefix="deployment-", dir=BUILD)
            )
            own = {f"{RECOGNIZER.name}.MODEL": chosen, f"{RECOGNIZER.name}.ENGINE": engine()}
            words = [f"{name}={value}" for name, value in {**own, **(settings or {})}.items()]
            deployment = replace(deployment, settings=read_words(tuple(words)))
            config = Path(folder) / "deployment.ini"
            deploy(aws, deployment, config, has_alarms)
            yield Stack(aws, deployment, chosen, config)
