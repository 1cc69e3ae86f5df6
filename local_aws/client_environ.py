"""The environment of who talks to the local AWS: nothing in it may lead a client elsewhere.

A shell may hold a session token, a profile, an endpoint of one service or a proxy, and each of them
would win over, or spoil, the variables that the local AWS prints.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

HOST = "127.0.0.1"
MISLEADING = ("AWS_", "MOTO_")
# No user's ~/.aws: a profile there may name keys, endpoints and a role.
NO_FILES = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
# Unset in any shell: who pastes the lines may do so in another one than they were printed for.
ALWAYS_UNSET = ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE")
TASTES = ("AWS_PAGER", "AWS_DEFAULT_OUTPUT")  # how the AWS CLI prints; they lead nowhere


def isolated(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without AWS's and moto's variables and files, and no proxy before this machine."""
    kept = {name: value for name, value in environ.items() if not name.startswith(MISLEADING)}
    return {**kept, **NO_FILES, **_no_proxy(environ)}


def isolate() -> None:
    """Make this process's own environment an isolated one, before it makes any client."""
    wanted = isolated(os.environ)
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update(wanted)


def shell_lines(exports: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """What a shell that has `environ` evaluates to have its clients come here."""
    variables = {**exports, **_no_proxy(environ)}
    unset = [*ALWAYS_UNSET, *sorted(name for name in environ if name.startswith("AWS_"))]
    names = [name for name in dict.fromkeys(unset) if name not in (*exports, *TASTES)]
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return [*lines, f"unset {' '.join(names)}"]


def _no_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that keep this machine out of the proxy's way; none where there is no proxy."""
    lower = {name.lower() for name, value in environ.items() if value}
    if not lower & {"http_proxy", "https_proxy", "all_proxy"}:
        return {}
    hosts = [environ.get("no_proxy") or environ.get("NO_PROXY") or "", HOST]
    if HOST in hosts[0].split(",") or hosts[0].strip() == "*":
        hosts.pop()
    # Programs differ in which of the two they read.
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(filter(None, hosts)))
