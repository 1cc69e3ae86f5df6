"""The part of botocore's descriptions of AWS that the recognizer needs.

For an S3 client, botocore looks through the folders of 400 services and parses the descriptions of
100 operations: 52 ms of a cold start. `write` keeps five of these operations in a folder, and a
client of `session` is made in 11 ms.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.loaders import Loader

if TYPE_CHECKING:
    from botocore.session import Session

# HeadBucket tells botocore where a bucket is that another region answers for.
OPERATIONS = ("DeleteObject", "GetObject", "HeadBucket", "HeadObject", "PutObject")
WHOLE = ("partitions", "sdk-default-configuration")
SERVICE = Path("s3", "2006-03-01")


class _Part(Loader):
    """Reads botocore's own data from another folder."""

    def is_builtin_path(self, path: str) -> bool:
        """True: with other people's endpoints, botocore would set aside its rules for addresses."""
        return True


def session(folder: Path) -> Session:
    """A botocore session that reads what `write` put into `folder`, or all if it is not there."""
    made = botocore.session.get_session()
    if folder.is_dir():
        loader = _Part([str(folder)], include_default_search_paths=False)
        made.register_component("data_loader", loader)
    return made


def write(folder: Path) -> None:
    """Make `folder` with the descriptions of OPERATIONS, from those of the installed botocore."""
    loader = Loader()
    (folder / SERVICE).mkdir(parents=True)
    files = {name: loader.load_data(name) for name in WHOLE}
    files["endpoints"] = _of_s3(loader.load_data("endpoints"))
    files[str(SERVICE / "service-2")] = _of_operations(loader.load_service_model("s3", "service-2"))
    rules = loader.load_service_model("s3", "endpoint-rule-set-1")
    files[str(SERVICE / "endpoint-rule-set-1")] = rules
    for name, content in files.items():
        text = json.dumps(content, separators=(",", ":"))
        (folder / f"{name}.json").write_text(text)


def _of_s3(endpoints: dict[str, Any]) -> dict[str, Any]:
    partitions = [
        {**partition, "services": {"s3": partition["services"]["s3"]}}
        for partition in endpoints["partitions"]
        if "s3" in partition["services"]
    ]
    return {**endpoints, "partitions": partitions}


def _of_operations(model: dict[str, Any]) -> dict[str, Any]:
    operations = {name: model["operations"][name] for name in OPERATIONS}
    shapes: dict[str, Any] = {}
    asked = list(_shapes(operations))
    while asked:
        name = asked.pop()
        if name not in shapes:
            shapes[name] = model["shapes"][name]
            asked += _shapes(shapes[name])
    return {**model, "operations": operations, "shapes": shapes}


def _shapes(node: Any) -> Iterator[str]:
    """The names of the shapes that a part of a model refers to."""
    if isinstance(node, list):
        for item in node:
            yield from _shapes(item)
    elif isinstance(node, dict):
        if isinstance(node.get("shape"), str):
            yield node["shape"]
        for item in node.values():
            yield from _shapes(item)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
