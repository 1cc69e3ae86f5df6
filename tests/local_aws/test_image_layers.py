"""Layers add, replace and remove files, and only below the image's root."""

from __future__ import annotations

import contextlib
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_aws.code_store import CodeStore
from local_aws.errors import CannotStart
from local_aws.image_layers import StoredImage, inside
from local_aws.image_sandbox import read_image
from tests.local_aws.oci_images import digest_of, entry, layer, link, manifest

QUICK = settings(max_examples=80, deadline=None, derandomize=True)
CONFIG = b'{"config": {"Entrypoint": ["/run"], "Cmd": ["x"], "WorkingDir": "/w"}}'


def stored(folder: Path, *layers: bytes, whole: bytes | None = None) -> StoredImage:
    """An image with its blobs in a folder."""
    folder.mkdir(exist_ok=True)
    whole = whole or manifest(CONFIG, layers)
    for data in (CONFIG, whole, *layers):
        (folder / digest_of(data)).write_bytes(data)
    return StoredImage(digest_of(whole), lambda digest: folder / digest)


def unpacked(tmp_path: Path, *layers: bytes) -> Path:
    """The root file system of an image with these layers."""
    stored(tmp_path / "blobs", *layers).unpack(tmp_path / "image")
    return tmp_path / "image" / "rootfs"


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_a_pushed_image_is_unpacked_once(tmp_path: Path) -> None:
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
    sandbox = image.sandbox({})
    assert (sandbox.folder, sandbox.command) == ("/w", ("/run", "x"))
    assert (image.root / "run").stat().st_mode & 0o7777 == 0o755  # set-user-ID is not kept
    assert store.image_folder(f"127.0.0.1:1/team/app@{pushed.digest}") == found
    assert store.image_folder("127.0.0.1:1/team/app:never-pushed") == folder
    with pytest.raises(CannotStart, match=r"has not been pushed .*--image team/other=FOLDER"):
        store.image_folder("127.0.0.1:1/team/other:v1")


def test_a_layer_adds_replaces_and_removes_files(tmp_path: Path) -> None:
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
    # THEN links are followed as if the root were /
    assert (root / "climbed").is_file()
    assert (root / below / "later").is_file()
    assert (root / "rooted").is_file()
    assert not (root / "device").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["blobs", "image", "outside"]


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    with pytest.raises(OSError, match="too many symbolic links in a/x"):
        inside(tmp_path, ("a", "x"))


def test_a_damaged_image_cannot_start(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"the layer sha256:.* cannot be unpacked"):
        unpacked(tmp_path, b"no tar at all")
    linked = stored(tmp_path / "blobs", layer(link("hard", "../../x", tarfile.LNKTYPE)))
    with pytest.raises(CannotStart, match="hard is a hard link to"):
        linked.unpack(tmp_path / "linked")
    index = b'{"manifests": [], "mediaType": "application/vnd.oci.image.index.v1+json"}'
    with pytest.raises(CannotStart, match="image index, which Lambda does not accept"):
        stored(tmp_path / "blobs", whole=index).unpack(tmp_path / "index")


# A layer as a tree: folders are dictionaries, files have a text, and None is a whiteout. A folder
# with the key OPAQUE hides what lower layers have in it.
OPAQUE = ".opaque"
NAMES = st.sampled_from(["a", "b", "c"])
NODES = st.recursive(
    st.one_of(st.text("xyz", max_size=2), st.none()),
    lambda nodes: st.tuples(st.dictionaries(NAMES, nodes, max_size=3), st.booleans()).map(
        lambda pair: {**pair[0], **({OPAQUE: ""} if pair[1] else {})}
    ),
    max_leaves=8,
)
LAYERS = st.lists(st.dictionaries(NAMES, NODES, max_size=3), min_size=1, max_size=3)
Tree = dict[str, Any]


def members(tree: Tree, shuffle: Any, place: str = "") -> list[tuple[tarfile.TarInfo, bytes]]:
    """The members of a layer, whiteouts and files of a folder in any order."""
    found = []
    for name, node in shuffle(sorted(tree.items())):
        if name == OPAQUE:
            found.append(entry(f"{place}.wh..wh..opq", ""))
        elif node is None:
            found.append(entry(f"{place}.wh.{name}", ""))
        elif isinstance(node, str):
            found.append(entry(f"{place}{name}", node))
        else:
            found += [entry(f"{place}{name}"), *members(node, shuffle, f"{place}{name}/")]
    return found


def merged(lower: Tree, upper: Tree) -> Tree:
    """What the two layers make together: the oracle."""
    result = {} if OPAQUE in upper else dict(lower)
    for name, node in upper.items():
        if node is None:
            result.pop(name, None)
        elif isinstance(node, dict):
            below = result.get(name)
            result[name] = merged(below if isinstance(below, dict) else {}, node)
        elif name != OPAQUE:
            result[name] = node
    return result


def tree_of(folder: Path) -> Tree:
    return {
        path.name: tree_of(path) if path.is_dir() else path.read_text() for path in folder.iterdir()
    }


@QUICK
@given(LAYERS, st.data())
def test_layers_combine_like_the_oracle(layers: list[Tree], data: st.DataObject) -> None:
    def shuffle(items: list[Any]) -> list[Any]:
        return data.draw(st.permutations(items))

    expected: Tree = {}
    for tree in layers:
        expected = merged(expected, tree)

    with tempfile.TemporaryDirectory() as folder:
        root = unpacked(Path(folder), *(layer(*members(tree, shuffle)) for tree in layers))
        assert tree_of(root) == expected


PATHS = st.sampled_from(
    ["a", "b", "a/b", "a/precious", "b/precious", "a/.wh.precious", "../x", "a/../../x", "/a"]
)
TARGETS = st.sampled_from(["OUTSIDE", "OUTSIDE/precious", "..", "../../outside", "a", "b", "/"])
KINDS = st.sampled_from([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.REGTYPE, tarfile.DIRTYPE])


@QUICK
@given(TARGETS, TARGETS, st.lists(st.tuples(KINDS, PATHS, TARGETS), min_size=1, max_size=4))
def test_no_path_or_link_escapes_the_root(
    first: str, second: str, more: list[tuple[bytes, str, str]]
) -> None:
    # GIVEN two links, which the other members may go through
    plan = [(tarfile.SYMTYPE, "a", first), (tarfile.SYMTYPE, "b", second), *more]
    with tempfile.TemporaryDirectory() as folder:
        outside = Path(folder, "outside")
        outside.mkdir()
        (outside / "precious").write_text("mine")
        found = []
        for kind, path, target in plan:
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                found.append(link(path, target.replace("OUTSIDE", str(outside)), kind))
            else:
                text = "theirs" if kind == tarfile.REGTYPE else None
                found.append(entry(path, text))

        with contextlib.suppress(CannotStart):
            unpacked(Path(folder), layer(*found))

        assert tree_of(outside) == {"precious": "mine"}
        assert sorted(path.name for path in Path(folder).iterdir()) == ["blobs", "image", "outside"]
        assert {path.name for path in Path(folder, "image").iterdir()} <= {"rootfs", "config.json"}
