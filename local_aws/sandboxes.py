"""Chooses the sandbox of each function; none where this machine does not allow namespaces."""

from __future__ import annotations

import logging
from pathlib import Path

from local_aws.errors import NoSandbox
from local_aws.function import FunctionSpec
from local_aws.sandbox import Sandbox
from local_aws.zip_root import ZipRoot

log = logging.getLogger(__name__)


class Sandboxes:
    """The sandboxes of one server. The first environment shows whether there can be any."""

    def __init__(self, folder: Path) -> None:
        """Keep the root file system of zip functions below `folder`."""
        self._zip_root = ZipRoot(folder)
        self._may_work = True
        self._has_worked = False

    def of(self, spec: FunctionSpec) -> Sandbox | None:
        """The function's sandbox; None if it has to do without."""
        if spec.image is not None:
            return spec.image.sandbox(spec.image_config)
        return self._zip_root.sandbox(spec) if self._may_work else None

    def have_worked(self, with_one: bool) -> None:
        """Note that an environment has started. From then on a failure is not the machine's."""
        self._has_worked |= with_one

    def refuse(self, spec: FunctionSpec, error: NoSandbox) -> None:
        """Do without sandboxes, and say so; raise the error for a function that cannot."""
        if spec.image is not None or self._has_worked:
            raise error
        if self._may_work:
            self._may_work = False
            log.warning(
                "FUNCTIONS ARE NOT ISOLATED, because this machine allows no user namespaces (%s): "
                "they run as your user, can write your files, and import what this Python has. "
                "See docs/local-aws.md",
                error.reason,
            )
