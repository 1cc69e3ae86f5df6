"""List prices, and how to override them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path

from pipeline.text_file import read_text
from workload.running.input_errors import PricesError


@dataclass(frozen=True)
class Prices:
    """Prices in dollars. Check them at https://aws.amazon.com/pricing/ before relying on them."""

    date: str = "2026-11, list prices from memory: check them before relying on them"
    region: str = "us-east-1"
    lambda_gb_second: float = 0.0000166667  # x86; an overridden price may be for arm64
    lambda_million_requests: float = 0.20
    s3_thousand_puts: float = 0.005
    s3_thousand_gets: float = 0.0004  # HEAD is charged as GET
    sqs_million_requests: float = 0.40
    rekognition_image: float = 0.001

    @property
    def is_x86(self) -> bool:
        """Whether the price of a GB-second is the list price, which is for x86 functions."""
        return self.lambda_gb_second == Prices.lambda_gb_second


def load_prices(path: Path | None) -> Prices:
    """The list prices, overridden by those in the JSON file at `path`.

    Raises PricesError for an unreadable file, an unknown name, or a value that is not a price.
    """
    if path is None:
        return Prices()
    names = {field.name: field.type for field in fields(Prices)}
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise PricesError(f"Cannot read the prices in {path}: {error}") from error
    if not isinstance(content, dict):
        raise PricesError(f"The prices in {path} must be a JSON object of {sorted(names)}.")
    for name, value in content.items():
        if name not in names:
            raise PricesError(f"{path} has an unknown price {name!r}: use any of {sorted(names)}.")
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        is_price = is_number and math.isfinite(value) and value >= 0
        if not (isinstance(value, str) if names[name] == "str" else is_price):
            raise PricesError(f"{name} in {path} is {value!r}: use a number of dollars, 0 or more.")
    if "date" not in content:
        content["date"] = f"Overridden by {path.name}; others: {Prices.date}"
    return replace(Prices(), **content)
