"""The people of a gallery while it is made or changed: their photos, threshold and review."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import gallery
import numpy as np
from added_stranger import AddedStranger
from gallery import Array, GalleryError
from person_name import name_key, normalized, printable
from photos import EnrollError, Photo
from review import SAME_PICTURE, Review, Row, review
from thresholds import Suggestion, suggest


@dataclass(frozen=True)
class People:
    """The rows of a gallery, how they were embedded, and what happened to them.

    `written` is the threshold of the file they were read from; `notes` are for the user.
    """

    model: str
    image_size: int
    rows: tuple[Row, ...] = ()
    written: float | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)

    def with_photos(self, photos: Sequence[Photo], embeddings: Sequence[Array]) -> People:
        """With these photos, embedded by the same model at the same size."""
        return self._with(
            [
                Row(photo.person, printable(photo.path.name), embedding)
                for photo, embedding in zip(photos, embeddings, strict=True)
            ]
        )

    def with_stranger(self, name: str, stranger: AddedStranger) -> People:
        """With a stranger's faces under `name`; raises EnrollError if another model made them."""
        if (self.model, self.image_size) != (stranger.model, stranger.image_size):
            raise EnrollError(
                f"The gallery was made with {self.model} at {self.image_size} px, the stranger's "
                f"faces with {stranger.model} at {stranger.image_size} px: enroll photos of them."
            )
        found = zip(stranger.labels, stranger.embeddings, strict=True)
        rows = [Row(normalized(name), printable(label), row) for label, row in found]
        added = self._with(rows)
        count = len(added.rows) - len(self.rows)
        note = f"added {normalized(name)}: {count} face{'' if count == 1 else 's'}"
        return replace(added, notes=(*added.notes, note))

    def with_people_of(self, other: People) -> People:
        """With another gallery's rows; raises EnrollError if another model made them."""
        if (self.model, self.image_size) != (other.model, other.image_size):
            raise EnrollError(
                f"One gallery was made with {self.model} at {self.image_size} px, the other with "
                f"{other.model} at {other.image_size} px: enroll one of them again."
            )
        return self._with(other.rows)

    def _with(self, rows: Sequence[Row]) -> People:
        """With these rows, under the names that are already in use; one copy of each picture."""
        all_rows, notes = list(self.rows), list(self.notes)
        spellings = {name_key(row.name): row.name for row in reversed(all_rows)}
        of_person: dict[str, list[Row]] = {}
        for row in all_rows:
            of_person.setdefault(row.name, []).append(row)
        for row in rows:
            name = spellings.setdefault(name_key(row.name), row.name)
            if name != row.name and (note := f"{row.name!r} is {name!r}, one person") not in notes:
                notes.append(note)
            known = of_person.setdefault(name, [])
            original = next((old for old in known if self._is_copy(old, row)), None)
            if original is None:
                all_rows.append(replace(row, name=name))
                known.append(all_rows[-1])
            else:
                notes.append(f"{name}: {row.photo} is the same picture as {original.photo}")
        return replace(self, rows=tuple(all_rows), notes=tuple(notes))

    def _is_copy(self, a: Row, b: Row) -> bool:
        cosine = np.asarray(a.embedding @ b.embedding, np.float32)
        return float(gallery.distance(self.model, cosine)) <= SAME_PICTURE

    def without(self, name: str) -> People:
        """Without a person, whatever the name's case and form; raises EnrollError if not there."""
        left = tuple(row for row in self.rows if name_key(row.name) != name_key(name))
        if len(left) == len(self.rows):
            there = ", ".join(sorted(set(self.names)))
            raise EnrollError(f"Nobody is called {name!r}: the gallery has {there}.")
        gone = len(self.rows) - len(left)
        note = f"removed {name}: {gone} photo{'' if gone == 1 else 's'}"
        return replace(self, rows=left, notes=(*self.notes, note))

    @property
    def names(self) -> list[str]:
        """The name of each row."""
        return [row.name for row in self.rows]

    @cached_property
    def suggestion(self) -> Suggestion:
        """The threshold that fits; raises EnrollError if nobody is left."""
        if not self.rows:
            raise EnrollError(
                "Nobody would be left, and a gallery cannot be empty: delete the file instead, or "
                "add somebody in the same call."
            )
        return suggest(self.model, np.stack([row.embedding for row in self.rows]), self.names)

    def review(self, threshold: float | None = None) -> Review:
        """What a user should know about these rows; None: with the threshold that fits."""
        return review(
            self.model, self.rows, self.suggestion.threshold if threshold is None else threshold
        )

    def save(self, path: Path) -> None:
        """Write the gallery with its threshold; raises EnrollError if empty, OSError."""
        threshold = self.suggestion.threshold
        embeddings = [row.embedding for row in self.rows]
        gallery.save(path, embeddings, self.names, self.model, self.image_size, threshold)

    def size(self) -> str:
        """How many people and photos there are."""
        people, photos = len(set(self.names)), len(self.rows)
        return (
            f"{people} {'person' if people == 1 else 'people'}, "
            f"{photos} photo{'' if photos == 1 else 's'} in the gallery, model {self.model}"
        )

    def listing(self) -> list[str]:
        """One line per person: the name and the number of photos."""
        photos = Counter(self.names)
        width = max(map(len, photos))
        return [
            f"{name:{width}}  {photos[name]} photo{'' if photos[name] == 1 else 's'}"
            for name in sorted(photos)
        ]

    def as_json(self) -> dict[str, Any]:
        """The people, the model and the threshold in the file, for --json."""
        photos = Counter(self.names)
        return {
            "model": self.model,
            "image_size": self.image_size,
            "threshold": self.written,
            "people": [{"name": name, "photos": photos[name]} for name in sorted(photos)],
        }

    def threshold_line(self, is_kept: bool) -> str:
        """The threshold that fits and its reason, and the one in the file if it differs.

        `is_kept` if the file's threshold stays in it.
        """
        line = self.suggestion.line(self.model)
        if self.written is None or abs(self.written - self.suggestion.threshold) < 5e-4:
            return line
        if is_kept:
            return f"threshold: {self.written:.3f} is in the file; this one would fit:\n{line}"
        return f"{line} (the file had {self.written:.3f})"


def read(path: Path) -> People:
    """The people in a gallery file; raises EnrollError if it cannot be used."""
    try:
        loaded = gallery.load(path, None)
    except GalleryError as error:
        raise EnrollError(str(error)) from error
    numbers: Counter[str] = Counter()
    rows = []
    for name, embedding in zip(loaded.names, loaded.embeddings, strict=True):
        numbers[name] += 1
        rows.append(Row(name, f"photo {numbers[name]}", embedding))
    # One person per name: older galleries may have twins that differ in case.
    return replace(People(loaded.model, loaded.image_size)._with(rows), written=loaded.threshold)
