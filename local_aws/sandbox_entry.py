"""Runs a command in separate namespaces: python3 -I -S sandbox_entry.py ALIVE ENVIRON ROOT ...

A separate program that imports next to nothing, because every cold start waits for it. Its
arguments are the file descriptor of a pipe that ends with the server, one with the command's
environment, the root file system, the size of /tmp in MB, the working directory, the number of bind
mounts, a source and a target for each, and the command.

Three processes: this one has the server's namespaces, waits and ends as the command does; its child
sets up the namespaces and then reaps orphans as their process 1; the command is the third.
"""

import ctypes
import os
import sys

TYPE_CHECKING = False  # without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable

# Like Lambda's, this user has no entry in /etc/passwd, no home directory and no capabilities.
USER, GROUP = 993, 990
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_FILES = 1024
CANNOT_SET_UP = 125  # exit status

# Of the kernel's headers linux/sched.h, mount.h, prctl.h, fcntl.h, and asm-generic/resource.h.
CLONE_NEWNS, CLONE_NEWIPC = 0x20000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, READ_ONLY, NO_SUID = 442, -100, 0x8000, 1, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
SIGKILL = 9
RLIMIT_NOFILE = 7
POLLIN = 1

DEVICES = ("null", "zero", "full", "random", "urandom")
LINKS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
# Where the kernel itself is set. A server that runs as root could write there.
KERNEL = ("bus", "fs", "irq", "sys", "sysrq-trigger")

libc = ctypes.CDLL(None, use_errno=True)


def must(result: int, what: str) -> None:
    """Raise OSError if a call of the C library failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount; raise OSError if that is not allowed."""
    words = [word.encode() or None for word in (source, target, kind)]
    result = libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None)
    must(result, f"mount {source} on {target}")


def make_read_only(path: str) -> None:
    """Make all mounts at and below `path` read-only. Needs Linux 5.12."""
    attributes = (ctypes.c_uint64 * 4)(READ_ONLY | NO_SUID, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    result = libc.syscall(
        SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), AT_RECURSIVE, attributes, size
    )
    must(result, f"make {path} read-only")


def write(path: str, text: str) -> None:
    """Write a short file of /proc; raise OSError if that is not allowed."""
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    os.close(file)


def leave_namespaces() -> None:
    """Enter new namespaces, in which this user is USER and may mount."""
    user, group = os.geteuid(), os.getegid()
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC
    must(libc.unshare(flags), "create namespaces")
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{USER} {user} 1")
    write("/proc/self/gid_map", f"{GROUP} {group} 1")


def set_up(root: str, tmp_mb: int, binds: list[str]) -> None:
    """Make `root` the root file system: read-only but for a new /tmp."""
    mount("", "/", flags=MS_REC | MS_PRIVATE)
    mount(root, root, flags=MS_BIND | MS_REC)
    for source, target in zip(binds[::2], binds[1::2], strict=True):
        mount(source, root + target, flags=MS_BIND | MS_REC)
    mount("tmpfs", f"{root}/dev", "tmpfs", MS_NOSUID, "mode=755,size=64k")
    for name in DEVICES:
        os.close(os.open(f"{root}/dev/{name}", os.O_CREAT))
        mount(f"/dev/{name}", f"{root}/dev/{name}", flags=MS_BIND)
    for name, end in LINKS.items():
        os.symlink(f"/proc/self/fd{end}", f"{root}/dev/{name}")  # noqa: PTH211
    make_read_only(root)
    options = f"mode=1777,size={tmp_mb}m"
    mount("tmpfs", f"{root}/tmp", "tmpfs", MS_NOSUID | MS_NODEV, options)  # noqa: S108
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV)
    for name in KERNEL:
        path = f"{root}/proc/{name}"
        if os.path.exists(path):  # noqa: PTH110
            mount(path, path, flags=MS_BIND)
            make_read_only(path)
    os.chdir(root)
    must(libc.pivot_root(b".", b"."), "change the root")
    must(libc.umount2(b".", MNT_DETACH), "leave the old root")


def run(environ: bytes, folder: str, command: list[str]) -> None:
    """Become the command."""
    limits = (ctypes.c_ulong * 2)()
    libc.getrlimit(RLIMIT_NOFILE, limits)
    limits[:] = [min(limit, MAX_FILES) for limit in limits]
    must(libc.setrlimit(RLIMIT_NOFILE, limits), "limit open files")
    must(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "give up privileges")
    for number in range(1, 65):  # Python ignores some, and so may whoever started the server
        libc.signal(number, None)
    os.chdir(folder)
    lines = (line.partition(b"=") for line in environ.split(b"\0") if line)
    variables = {name: value for name, _, value in lines}
    program = command[0].encode()
    folders = [b""] if b"/" in program else variables.get(b"PATH", os.defpath.encode()).split(b":")
    for place in folders:  # not os.execvpe: it imports modules, which are out of reach by now
        path = place + b"/" + program if place else program
        if os.access(path, os.X_OK):
            os.execve(path, command, variables)  # noqa: S606
    raise FileNotFoundError(2, "there is no such program", command[0])


def be_init(start: "Callable[[], None]") -> int:
    """Start the command and reap every orphan until the command ends; return its wait status."""
    command = os.fork()
    if command == 0:
        attempt(start)
    while True:
        pid, status = os.wait()
        if pid == command:
            return status


def attempt(step: "Callable[[], None]") -> None:
    """Take a step of the set-up, or end this process with the reason."""
    try:
        step()
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        os.write(2, f"sandbox: {error.strerror}{where}\n".encode())
        os._exit(CANNOT_SET_UP)


def main() -> None:
    """Run the command."""
    alive, environ_file, root, tmp_mb, folder, count, *words = sys.argv[1:]
    binds, command = words[: 2 * int(count)], words[2 * int(count) :]
    environ = os.pread(int(environ_file), os.fstat(int(environ_file)).st_size, 0)
    os.close(int(environ_file))
    attempt(leave_namespaces)
    told, tell = os.pipe()
    init = os.fork()
    if init == 0:
        libc.prctl(PR_SET_PDEATHSIG, SIGKILL)
        os.close(told)
        os.close(int(alive))
        attempt(lambda: set_up(root, int(tmp_mb), binds))
        status = be_init(lambda: run(environ, folder, command))
        os.write(tell, str(status).encode())
        os._exit(0)
    os.close(tell)
    end_as(wait(told, int(alive), init))


def wait(told: int, alive: int, init: int) -> int:
    """The wait status of the command, which process 1 tells, or of process 1 itself.

    If the server dies for any reason, the system closes `alive`: then kill the process group.
    """
    polled = (ctypes.c_int * 4)(told, POLLIN, alive, POLLIN)  # twice: descriptor, two shorts
    while libc.poll(polled, ctypes.c_ulong(2), -1) < 0:
        pass  # interrupted
    if polled[3] >> 16:
        os.killpg(0, SIGKILL)
    report = os.read(told, 16)
    _, status = os.waitpid(init, 0)
    return int(report or status)


def end_as(status: int) -> None:
    """End as the command did, without a core dump."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        libc.prctl(PR_SET_DUMPABLE, 0)
        libc.signal(-code, None)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
