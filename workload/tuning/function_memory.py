"""Changes the memory of a deployed function, and puts back what was."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from typing import Any

from pipeline.aws import (
    AWS_ERRORS,
    NOT_FOUND,
    Aws,
    AwsError,
    error_code,
    explain,
    read_or_none,
    retry_while,
)
from pipeline.cli import script_command
from pipeline.settings import Deployment, Function

# Says, as MEGABYTES:PREFIX, what a function had before and where the objects of the trials are. It
# outlives a tuner that is killed, and keeps two from tuning the same deployment.
TAG = "tuned-from"
# The start of the folder that the trials upload to. `--restore` deletes by the tag's prefix, and an
# empty one would be everything, so a tag with another prefix is not taken for ours.
PREFIX = "tune-"
READY_S = 600.0


class FunctionMemory:
    """The memory of one deployed function."""

    def __init__(self, aws: Aws, deployment: Deployment, function: Function) -> None:
        """Only remember them."""
        self._aws = aws
        self._deployment = deployment
        self.function = function

    @property
    def _client(self) -> Any:
        return self._aws.client("lambda")

    def look(self) -> tuple[int, tuple[int, str] | None]:
        """The function's memory in MB, and what its tag says: the MB before and the prefix.

        Raises AwsError if the function is not deployed.
        """
        name = self.function.name
        found = read_or_none(lambda: self._client.get_function(FunctionName=name), NOT_FOUND)
        if found is None:
            raise AwsError(
                f"There is no function '{name}' to tune: check --prefix and --namespace, or "
                f"deploy it: {script_command(self._aws, self._deployment, 'deploy/deploy.py')}"
            )
        before, _, prefix = (found.get("Tags") or {}).get(TAG, "").partition(":")
        is_ours = before.isdecimal() and prefix.startswith(PREFIX) and prefix.endswith("/")
        tagged = (int(before), prefix) if is_ours else None
        return int(found["Configuration"]["MemorySize"]), tagged

    def mark(self, memory_mb: int, prefix: str) -> None:
        """Write the tag."""
        self._client.tag_resource(Resource=self._arn(), Tags={TAG: f"{memory_mb}:{prefix}"})

    def unmark(self) -> None:
        """Remove the tag."""
        self._client.untag_resource(Resource=self._arn(), TagKeys=[TAG])

    def _arn(self) -> str:
        config = self._client.get_function_configuration(FunctionName=self.function.name)
        return str(config["FunctionArn"])

    def set(
        self,
        memory_mb: int,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Give the function this much memory and wait until new environments have it.

        Raises AwsError if Lambda does not apply it.
        """
        name = self.function.name
        retry_while(
            lambda: self._client.update_function_configuration(
                FunctionName=name, MemorySize=memory_mb
            ),
            lambda error: error_code(error) == "ResourceConflictException",  # another update
            sleep=sleep,
        )
        deadline = clock() + READY_S
        while True:
            config = self._client.get_function_configuration(FunctionName=name)
            status = config.get("LastUpdateStatus")
            if status == "Failed":
                raise AwsError(
                    f"Lambda could not give function '{name}' {memory_mb} MB: "
                    f"{config.get('LastUpdateStatusReason', 'it gives no reason')}"
                )
            if status != "InProgress" and config.get("State") != "Pending":
                return
            if clock() >= deadline:
                raise AwsError(
                    f"Lambda is still giving function '{name}' {memory_mb} MB after "
                    f"{READY_S / 60:.0f} minutes: try again later."
                )
            sleep(1)

    def put_back(self, memory_mb: int) -> None:
        """Give the function what it had. Raises AwsError that says how to do it by hand."""
        name = self.function.name
        try:
            self.set(memory_mb)
        except (*AWS_ERRORS, AwsError) as error:
            reason = str(error) if isinstance(error, AwsError) else explain(error)
            words = ["aws", "lambda", "update-function-configuration", "--function-name", name]
            command = shlex.join([*words, "--memory-size", str(memory_mb), *self._aws.options])
            restore = script_command(self._aws, self._deployment, "workload/tune.py", "--restore")
            raise AwsError(
                f"Function '{name}' could not be given back its {memory_mb} MB: {reason} Do it "
                f"with: {restore}   or: {command}"
            ) from error
