"""Extracts the text, page by page, from PDFs printed by Chromium."""

from __future__ import annotations

import re
import zlib


def texts(pdf: bytes) -> list[list[str]]:
    """The runs of text on each page; a run is a line or part of one."""
    objects = {
        int(number): content
        for number, content in re.findall(rb"\n(\d+) 0 obj\n(.*?)\nendobj", pdf, re.DOTALL)
    }
    pages = [content for content in objects.values() if re.search(rb"/Type /Page\b", content)]
    return [_runs(objects, page) for page in pages]


def _runs(objects: dict[int, bytes], page: bytes) -> list[str]:
    fonts = {
        name: _letters(objects, objects[int(number)])
        for name, number in re.findall(rb"/(F\d+) (\d+) 0 R", page)
    }
    runs, letters = [""], dict[str, str]()
    # select a font, draw glyphs, or end a text
    pattern = rb"/(F\d+) [\d.]+ Tf|(\[.*?\] TJ|<\w+> Tj)|ET"
    for font, drawn in re.findall(pattern, _stream(objects, page, b"Contents"), re.DOTALL):
        if font:
            letters = fonts[font]
        elif drawn:
            glyphs = "".join(re.findall(r"<(\w+)>", drawn.decode()))
            runs[-1] += "".join(
                letters.get(glyphs[at : at + 4], "?") for at in range(0, len(glyphs), 4)
            )
        else:
            runs.append("")
    return runs


def _letters(objects: dict[int, bytes], font: bytes) -> dict[str, str]:
    """The Unicode character of each glyph in the font; glyphs are in hexadecimal."""
    if b"/ToUnicode" not in font:
        return {}
    table, letters = _stream(objects, font, b"ToUnicode").decode(), dict[str, str]()
    for block in re.findall(r"beginbfchar(.*?)endbfchar", table, re.DOTALL):
        for glyph, letter in re.findall(r"<(\w+)> <(\w+)>", block):
            letters[glyph] = bytes.fromhex(letter).decode("utf-16-be")
    for block in re.findall(r"beginbfrange(.*?)endbfrange", table, re.DOTALL):
        for first, last, letter in re.findall(r"<(\w+)> <(\w+)> <(\w+)>", block):
            for glyph in range(int(first, 16), int(last, 16) + 1):
                letters[f"{glyph:04X}"] = chr(int(letter, 16) + glyph - int(first, 16))
    return letters


def _stream(objects: dict[int, bytes], owner: bytes, name: bytes) -> bytes:
    """The stream that `owner` refers to by `name`."""
    found = re.search(rb"/" + name + rb" (\d+) 0 R", owner)
    assert found, f"no {name!r} in {owner[:200]!r}"
    head, _, data = objects[int(found.group(1))].partition(b"stream\n")
    data = data.removesuffix(b"\nendstream")
    return zlib.decompress(data) if b"/FlateDecode" in head else data
