"""The file system of Lambda's Python runtime, for zip functions, made of this machine's files.

A function sees its code and layers, this Python, AWS's packages, a shell with the usual small
programs, and the system's libraries; no other packages and programs of this machine.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import threading
from functools import cached_property
from pathlib import Path

from local_aws.function import FunctionSpec
from local_aws.sandbox import NAMES, Sandbox

TASK, OPT, LANG, RUNTIME = "/var/task", "/opt", "/var/lang", "/var/runtime"
# awslambdaric, boto3, and what they need; a test compares this list with their metadata.
PACKAGES = (
    "awslambdaric",
    "boto3",
    "botocore",
    "dateutil",
    "jmespath",
    "python_dateutil",
    "runtime_client",
    "s3transfer",
    "simplejson",
    "six",
    "snapshot_restore_py",
    "urllib3",
)
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
# What Lambda's runtime has in /usr/bin: a shell, coreutils, and little more.
PROGRAMS = (
    "awk bash egrep env fgrep grep sed sh arch b2sum base32 base64 basename cat chgrp chmod chown "
    "cksum comm cp csplit cut date dd df dir dircolors dirname du echo expand expr factor false "
    "fmt fold getconf groups head hostid iconv id install join ldd link ln locale logname ls "
    "md5sum mkdir mkfifo mknod mktemp mv nice nl nohup nproc numfmt od paste pathchk pinky pr "
    "printenv printf ptx pwd readlink realpath rm rmdir seq sha1sum sha224sum sha256sum sha384sum "
    "sha512sum shred shuf sleep sort split stat stdbuf stty sum sync tac tail tee test timeout "
    "touch tr true truncate tsort tty uname unexpand uniq unlink users vdir wc who whoami yes"
)
HOST_PROGRAMS = "/usr/libexec/host"  # not in PATH
EMPTY = ("dev", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "usr/sbin")
# Libraries and what they read. Whatever of this a machine does not have is left out.
SYSTEM = (
    *(f"/usr/{name}" for name in ("lib", "lib32", "lib64", "libx32", "share")),
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/pki",
    "/etc/ssl",
    *NAMES,
)
TOP_LIBRARIES = ("lib", "lib32", "lib64", "libx32")  # on most systems, links into /usr
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:99:99:Nobody:/:/sbin/nologin\n",
    "etc/group": "root:x:0:\nnobody:x:99:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}

START = f"""
import os, sys
layer = "{OPT}/python"
sys.path[:1] = [os.environ["LAMBDA_TASK_ROOT"], layer + "/lib/{PYTHON}/site-packages", layer]
from awslambdaric.__main__ import main
main(sys.argv)
"""


class ZipRoot:
    """Makes the file system on first use, once for all functions."""

    def __init__(self, folder: Path) -> None:
        """Keep what is made for it below `folder`."""
        self._folder = folder
        self._root, self._empty = folder / "root", folder / "empty"
        self._lock = threading.Lock()

    def sandbox(self, spec: FunctionSpec) -> Sandbox:
        """The sandbox of a zip function, or of one that runs from its folder instead of an image.

        What the latter needs is in no image here, so it may import whatever this Python has.
        """
        with self._lock:
            binds = [*self._binds, (spec.task_root, TASK)]
        if spec.opt is not None:
            binds.append((spec.opt, OPT))
        if spec.from_folder:
            binds.append((Path(sysconfig.get_paths()["platlib"]), RUNTIME))
        command = (f"{LANG}/bin/{PYTHON}", "-c", START, spec.handler)
        return Sandbox(self._root, tuple(binds), TASK, command, variables(spec))

    @cached_property
    def _binds(self) -> list[tuple[Path, str]]:
        """What every function sees. Makes the root file system, in which all of it has a place."""
        shutil.rmtree(self._folder, ignore_errors=True)  # of an earlier server, or half made
        self._empty.mkdir(parents=True)
        for name in (*EMPTY, "etc", "usr/bin", TASK[1:], RUNTIME[1:], f"{LANG[1:]}/bin"):
            (self._root / name).mkdir(parents=True, exist_ok=True)
        for name, text in FILES.items():
            (self._root / name).write_text(text)
        binds = [(Path(path), path) for path in SYSTEM if Path(path).exists()]
        for name in TOP_LIBRARIES:
            path = Path("/", name)
            if path.is_symlink():
                (self._root / name).symlink_to(os.readlink(path))  # noqa: PTH115
            elif path.is_dir():
                binds.append((path, str(path)))
        for name in ("bin", "sbin"):
            (self._root / name).symlink_to(f"usr/{name}")
        binds += [*self._programs(), *self._python(), *packages()]
        for source, target in binds:
            self._make_place(source, self._root / target[1:])
        return [(source.resolve(), target) for source, target in [*binds, *self._hidden()]]

    @staticmethod
    def _make_place(source: Path, place: Path) -> None:
        if source.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()

    def _programs(self) -> list[tuple[Path, str]]:
        """The folders that have PROGRAMS, outside PATH; links to the programs are in PATH."""
        folders: dict[Path, str] = {}
        for name in PROGRAMS.split():
            found = shutil.which(name, path="/usr/bin:/bin")
            if found:
                real = Path(found).resolve()
                folder = folders.setdefault(real.parent, f"{HOST_PROGRAMS}/{len(folders)}")
                (self._root / "usr" / "bin" / name).symlink_to(f"{folder}/{real.name}")
        return list(folders.items())

    def _python(self) -> list[tuple[Path, str]]:
        """This Python, where Lambda's is, without the programs that are installed beside it."""
        base = Path(sys.base_prefix)
        program = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
        for name in ("python", "python3"):
            (self._root / LANG[1:] / "bin" / name).symlink_to(PYTHON)
        libraries = [base / "lib", *([] if (base / "lib64").is_symlink() else [base / "lib64"])]
        found = [(path, f"{LANG}/{path.name}") for path in libraries if path.is_dir()]
        return [(program, f"{LANG}/bin/{PYTHON}"), *found]

    def _hidden(self) -> list[tuple[Path, str]]:
        """An empty folder over every folder of packages that are installed with this Python."""
        base = Path(sys.base_prefix)
        places = [f"{lib}/{PYTHON}/site-packages" for lib in ("lib", "lib64")]
        places += [f"lib/{PYTHON}/dist-packages", "lib/python3/dist-packages"]
        return [(self._empty, f"{LANG}/{place}") for place in places if (base / place).is_dir()]


def packages() -> list[tuple[Path, str]]:
    """AWS's packages here, and where Lambda's runtime has them."""
    found: dict[str, Path] = {}
    for folder in {sysconfig.get_paths()[kind] for kind in ("purelib", "platlib")}:
        for path in Path(folder).iterdir():
            if path.name.partition("-")[0].partition(".")[0] in PACKAGES:
                found[path.name] = path
    return [(path, f"{RUNTIME}/{name}") for name, path in sorted(found.items())]


def variables(spec: FunctionSpec) -> dict[str, str]:
    """The variables of Lambda's Python runtime, whatever the function.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    libraries = f"{LANG}/lib /lib64 /usr/lib64 {RUNTIME} {RUNTIME}/lib {TASK} {TASK}/lib {OPT}/lib"
    return {
        "PATH": f"{LANG}/bin:/usr/local/bin:/usr/bin/:/bin:{OPT}/bin",
        "LD_LIBRARY_PATH": libraries.replace(" ", ":"),
        "PYTHONPATH": RUNTIME,
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "LAMBDA_TASK_ROOT": TASK,
        "LAMBDA_RUNTIME_DIR": RUNTIME,
        "_HANDLER": spec.handler,
    }
