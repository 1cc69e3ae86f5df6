"""Deployed code on disk: unpacked once for each hash."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from local_aws.code_store import CodeStore
from local_aws.errors import CannotStart
from tests.local_aws.conftest import zipped


def sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def test_a_zip_is_unpacked_once_with_its_permissions(tmp_path: Path) -> None:
    store = CodeStore(tmp_path, {}, lambda name, reference: None)
    data = zipped({"bin/tool": "#!/bin/sh\n"}, {"bin/tool": 0o755})

    folder = store.unpack(data, sha256(data))

    assert (folder / "bin" / "tool").stat().st_mode & 0o777 == 0o755
    # WHEN it is requested again, THEN its bytes are not read
    assert store.unpack(b"", sha256(data)) == folder
    assert store.unpack(zipped({"other": ""}), sha256(b"other")) != folder


def test_code_that_is_not_a_zip_file_cannot_start(tmp_path: Path) -> None:
    data = b"This is not a zip file."

    with pytest.raises(CannotStart, match="is not a zip file"):
        CodeStore(tmp_path, {}, lambda name, reference: None).unpack(data, sha256(data))
