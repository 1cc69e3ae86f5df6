"""The scripts on CloudShell's Python 3.9, with the last boto3 and click that support it."""

from __future__ import annotations

import dataclasses
import subprocess

from tests.deploy.conftest import Account, image_uri


def test_a_deployment_is_created_checked_and_removed(account: Account, cloudshell: str) -> None:
    shell = dataclasses.replace(account, python=cloudshell)
    deployment = account.deployment()
    layer = ["--zip", str(account.zip_path)]
    steps = [
        ["deploy/deploy.py", *layer, "--image-uri", image_uri(deployment), "--snapstart"],
        ["deploy/doctor.py", *layer, "--after"],
        ["deploy/status.py", "--json"],
        ["deploy/failures.py", "list"],
        ["deploy/failures.py", "missing"],
        ["deploy/prune.py", "--yes"],
        ["deploy/destroy.py", "--yes"],
    ]
    version = subprocess.run([cloudshell, "--version"], capture_output=True, text=True).stdout
    assert version.startswith("Python 3.9.")

    for script, *options in steps:
        done = shell.start(script, deployment, *options)
        assert "Traceback" not in done.stderr, f"{script}: {done.stderr}"
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
