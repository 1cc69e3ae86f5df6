"""Temporary credentials end."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from local_aws.client_environ import isolated

PROGRAM = """
    from datetime import timedelta
    from moto.core.utils import utcnow
    from moto.iam.models import iam_backends
    from moto.sts.models import sts_backends
    from local_aws.moto_iam import Principals
    from local_aws.sigv4 import SignatureError

    account = "123456789012"
    sts = sts_backends[account]["aws"]
    session = sts.assume_role("us-east-1", "test", f"arn:aws:iam::{account}:role/r", "", 900, "")
    principals = Principals(account, "AKIA", "secret")
    print(principals.find(session.access_key_id).policies)
    session.expiration = utcnow() - timedelta(seconds=1)
    try:
        principals.find(session.access_key_id)
    except SignatureError as error:
        print(error.code)
"""


def test_a_session_is_refused_once_it_has_expired(root: Path) -> None:
    # in a separate process: no credentials of the server end within a test
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        cwd=root,
        env=isolated({}),
        capture_output=True,
        text=True,
    )

    assert (done.stdout, done.stderr) == ("[]\nExpiredToken\n", "")
