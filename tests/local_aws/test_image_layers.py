"""Layers laid one over the other: what each adds, replaces and removes, and nothing elsewhere."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from local_aws.code_store import CodeStore
from local_aws.errors import CannotStart
from local_aws.image_layers import StoredImage, inside
from local_aws.image_sandbox import read_image
from tests.local_aws.oci_images import digest_of, entry, layer, link, manifest

CONFIG = b'{"config": {"Entrypoint": ["/run"], "Cmd": ["x"], "WorkingDir": "/w"}}'


def stored(folder: Path, *layers: bytes, whole: bytes | None = None) -> StoredImage:
    """An image whose blobs lie in a folder."""
    folder.mkdir(exist_ok=True)
    whole = whole or manifest(CONFIG, layers)
    for data in (CONFIG, whole, *layers):
        (folder / digest_of(data)).write_bytes(data)
    return StoredImage(digest_of(whole), lambda digest: folder / digest)


def unpacked(tmp_path: Path, *layers: bytes) -> Path:
    """The root file system of an image of these layers."""
    stored(tmp_path / "blobs", *layers).unpack(tmp_path / "image")
    return tmp_path / "image" / "rootfs"


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_a_pushed_image_is_unpacked_once_to_be_run(tmp_path: Path) -> None:
    pushed = stored(tmp_path / "blobs", layer(entry("run", "#!/bin/sh\n", mode=0o4755)))
    images = {("team/app", reference): pushed for reference in ("v1", pushed.digest)}
    folder = tmp_path / "a folder of that name"
    folder.mkdir()
    store = CodeStore(
        tmp_path / "code",
        {"team/app": folder},
        lambda repository, reference: images.get((repository, reference)),
    )

    found = store.image_folder("127.0.0.1:1/team/app:v1")

    image = read_image(found)
    assert image is not None
    assert image.argv({}, 512)[-3:] == ["/w", "/run", "x"]
    assert (image.root / "run").stat().st_mode & 0o7777 == 0o755  # set-user-ID is not kept
    assert store.image_folder(f"127.0.0.1:1/team/app@{pushed.digest}") == found
    assert store.image_folder("127.0.0.1:1/team/app:never-pushed") == folder
    with pytest.raises(CannotStart, match=r"has not been pushed .*--image team/other=FOLDER"):
        store.image_folder("127.0.0.1:1/team/other:v1")


def test_a_layer_adds_replaces_and_removes(tmp_path: Path) -> None:
    lower = layer(
        *(entry("kept"), entry("kept/file", "old"), entry("gone"), entry("gone/file", "")),
        *(entry("emptied"), entry("emptied/old", ""), entry("folder"), entry("folder/x", "")),
        *(entry("file", ""), link("link", "kept/file")),
    )
    upper = layer(
        *(entry("kept/file", "new"), entry(".wh.gone", ""), entry("emptied/new", "")),
        *(entry("emptied/.wh..wh..opq", ""), entry("folder", "now a file"), entry("file")),
        *(entry("link", "now a file"), link("hard", "kept/file", tarfile.LNKTYPE)),
    )

    root = unpacked(tmp_path, lower, upper)

    assert names(root) == [
        *("emptied", "emptied/new", "file", "folder", "hard", "kept", "kept/file", "link"),
    ]
    assert (root / "kept/file").read_text() == (root / "hard").read_text() == "new"
    assert (root / "file").is_dir()
    assert (root / "folder").read_text() == "now a file"
    assert not (root / "link").is_symlink()


def test_nothing_is_written_outside_the_root(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    evil = layer(
        *(link("up", "../../.."), entry("up/climbed", "")),
        *(
            link("deep/abs", str(outside)),
            entry("deep/abs/precious", "theirs"),
            entry("deep/abs/.wh.precious", ""),
        ),
        *(entry("../dots", ""), entry("/rooted", ""), entry("device", "", type=tarfile.CHRTYPE)),
        link("hard", "deep/abs/precious", tarfile.LNKTYPE),
    )

    root = unpacked(tmp_path, evil, layer(entry("deep/abs/later", "")))

    assert (outside / "precious").read_text() == "mine"
    assert names(outside) == ["precious"]
    below = str(outside).lstrip("/")
    # THEN links are followed as they would be with the root as /
    assert (root / "climbed").is_file()
    assert (root / below / "later").is_file()
    assert (root / "rooted").is_file()
    assert not (root / "device").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["blobs", "image", "outside"]


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    with pytest.raises(OSError, match="too many symbolic links in a/x"):
        inside(tmp_path, ("a", "x"))


def test_what_cannot_be_unpacked_cannot_start(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"the layer sha256:.* cannot be unpacked"):
        unpacked(tmp_path, b"no tar at all")
    linked = stored(tmp_path / "blobs", layer(link("hard", "../../x", tarfile.LNKTYPE)))
    with pytest.raises(CannotStart, match="hard is a hard link to"):
        linked.unpack(tmp_path / "linked")
    index = b'{"manifests": [], "mediaType": "application/vnd.oci.image.index.v1+json"}'
    with pytest.raises(CannotStart, match="image index, which Lambda does not accept"):
        stored(tmp_path / "blobs", whole=index).unpack(tmp_path / "index")
