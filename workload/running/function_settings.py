"""What the deployed functions are set to, which may differ from what is set here."""

from __future__ import annotations

from functools import partial

from pipeline.aws import NOT_FOUND, Aws, read_or_none
from pipeline.settings import Function


def environment_of(aws: Aws, function: Function, *codes: str) -> dict[str, str]:
    """The variables of a deployed function; as set here where it has none, or does not exist.

    So they are if Lambda answers with an error of `codes`. Raises AWS_ERRORS for any other.
    """
    config = read_or_none(
        partial(aws.client("lambda").get_function_configuration, FunctionName=function.name),
        *(NOT_FOUND, *codes),
    )
    deployed = config.get("Environment", {}).get("Variables", {}) if config else {}
    return {**function.environment, **deployed}
