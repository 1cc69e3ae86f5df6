"""The imports and file names of the tree. The rules about them are in test_house.py."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

# Lambda task roots: their modules import each other by bare name.
TASK_ROOTS = ("video-splitting", "face-recognition")
PACKAGES = ("pipeline", "deploy", "workload", "local_aws", "samples", "bench", "tests")


@dataclass(frozen=True)
class Import:
    """An import of one project module by another. `place` is file:line."""

    place: str
    importer: str
    imported: str


class House:
    """The modules of a checkout, by dotted name: `deploy.parts.states`, `video-splitting.store`."""

    def __init__(self, root: Path) -> None:
        """Find the modules; they are parsed on first use."""
        self.root = root
        found = list(root.glob("*.py"))
        for folder in (*TASK_ROOTS, *PACKAGES):
            found += (root / folder).rglob("*.py")
        self.modules = {_dotted(path.relative_to(root)): path for path in found}

    @cached_property
    def imports(self) -> list[Import]:
        """Every import of one project module by another, at any depth of the file."""
        return [found for name in sorted(self.modules) for found in self._imports_of(name)]

    def _imports_of(self, importer: str) -> Iterator[Import]:
        path = self.modules[importer]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, (ast.Import, ast.ImportFrom)):
                continue
            place = f"{path.relative_to(self.root)}:{node.lineno}"
            for name in self._names(node, importer, path):
                module = self._resolve(name, importer)
                if module and module != importer:
                    yield Import(place, importer, module)

    @staticmethod
    def _names(node: ast.Import | ast.ImportFrom, importer: str, path: Path) -> Iterator[str]:
        """The absolute dotted names that an import statement asks for."""
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            above = importer.split(".")
            if path.name == "__init__.py":
                above.append("__init__")
            module = [*above[: -node.level], node.module] if node.level else [node.module]
            prefix = ".".join(part for part in module if part)
            yield from (f"{prefix}.{alias.name}" for alias in node.names)

    def _resolve(self, name: str, importer: str) -> str | None:
        """The project module that a name refers to; None if it is not one of ours."""
        own_root = importer.partition(".")[0]
        for root in sorted(TASK_ROOTS, key=lambda root: root != own_root):
            if (module := f"{root}.{name.partition('.')[0]}") in self.modules:
                return module
        while name and name not in self.modules:  # drop attributes until a module is left
            name = name.rpartition(".")[0]
        return name or None

    def forbidden(self, rules: Mapping[str, tuple[str, ...]]) -> list[str]:
        """The imports that the rules do not allow.

        A rule maps an area to the areas it may import. A module belongs to the longest area that
        is a prefix of its name.
        """
        areas = sorted({*rules, *(area for allowed in rules.values() for area in allowed)})
        wrong = []
        for found in self.imports:
            allowed = rules[_area(found.importer, list(rules))]
            if _area(found.imported, areas) not in allowed:
                wrong.append(f"{found.place} imports {found.imported}")
        return list(dict.fromkeys(wrong))

    def cycle(self) -> list[str]:
        """The modules of an import cycle, if there is one."""
        graph: dict[str, set[str]] = defaultdict(set)
        for found in self.imports:
            graph[found.importer].add(found.imported)
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            return list(reversed(error.args[1]))
        return []

    def shared_names(self) -> dict[str, list[str]]:
        """Names that several modules share. Test modules are exempt: they mirror what they test."""
        places: dict[str, list[str]] = defaultdict(list)
        for path in self.modules.values():
            if not path.name.startswith("test_"):
                places[path.stem].append(str(path.relative_to(self.root)))
        return {name: sorted(paths) for name, paths in places.items() if len(paths) > 1}


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _area(module: str, areas: list[str]) -> str:
    """The longest area that contains the module."""
    fits = [area for area in areas if f"{module}.".startswith(f"{area}.")]
    return max(fits, key=len, default="")
