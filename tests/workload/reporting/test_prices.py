"""The price list and its overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from workload.reporting.prices import Prices, load_prices
from workload.running.input_errors import PricesError


def test_prices_can_be_overridden_by_name(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text('{"rekognition_image": 0.002}')

    prices = load_prices(path)

    assert prices.rekognition_image == 0.002
    assert prices.lambda_gb_second == Prices().lambda_gb_second
    assert prices.date.startswith("Overridden by prices.json")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"gold": 1}', '{"rekognition_image": -1}', '{"rekognition_image": "1"}']
)
def test_a_bad_price_file_is_rejected_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text)

    with pytest.raises(PricesError, match=r"prices\.json"):
        load_prices(path)
