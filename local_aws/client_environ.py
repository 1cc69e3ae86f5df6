"""Environment variables for clients of the local AWS, so that none of them talks to real AWS.

A shell may have a session token, a profile, an endpoint for one service or a proxy. Each of these
would override or break the variables that the local AWS prints.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

HOST = "127.0.0.1"
MISLEADING = ("AWS_", "MOTO_")
# Ignore the user's ~/.aws: a profile there may set keys, endpoints and a role.
NO_FILES = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
# Always unset: the lines may be pasted into another shell than the one they were printed for.
ALWAYS_UNSET = ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE")
OUTPUT_PREFERENCES = ("AWS_PAGER", "AWS_DEFAULT_OUTPUT")  # harmless: how the AWS CLI prints


def isolated(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without AWS's and moto's variables and files, and with no proxy for loopback."""
    kept = {name: value for name, value in environ.items() if not name.startswith(MISLEADING)}
    return {**kept, **NO_FILES, **_no_proxy(environ)}


def isolate() -> None:
    """Isolate this process's own environment. Call it before creating any client."""
    wanted = isolated(os.environ)
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update(wanted)


def shell_lines(exports: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """The lines that point the clients of a shell with the variables `environ` here."""
    variables = {**exports, **_no_proxy(environ)}
    unset = [*ALWAYS_UNSET, *sorted(name for name in environ if name.startswith("AWS_"))]
    keep = (*exports, *OUTPUT_PREFERENCES)
    names = [name for name in dict.fromkeys(unset) if name not in keep]
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return [*lines, f"unset {' '.join(names)}"]


def _no_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that exempt loopback from the proxy; empty if there is no proxy."""
    lower = {name.lower() for name, value in environ.items() if value}
    if not lower & {"http_proxy", "https_proxy", "all_proxy"}:
        return {}
    hosts = [environ.get("no_proxy") or environ.get("NO_PROXY") or "", HOST]
    if HOST in hosts[0].split(",") or hosts[0].strip() == "*":
        hosts.pop()
    # Some programs read the upper-case name, others the lower-case one.
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(filter(None, hosts)))
