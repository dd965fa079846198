"""Scalars as Java writes them."""

import pytest

from vortexd.core.model import Scalar
from vortexd.http.spring.scalars import text_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (10_000_000_000, "10000000000"),
        ("x", "x"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.5, "1.5"),
        (100.0, "100.0"),
        (0.001, "0.001"),
        (0.0001, "1.0E-4"),
        (0.00012, "1.2E-4"),
        (-0.000999, "-9.99E-4"),
        (1e-7, "1.0E-7"),
        (1.25e-7, "1.25E-7"),
        (1234567.5, "1234567.5"),
        (9999999.0, "9999999.0"),
        (10000000.0, "1.0E7"),
        (12345678.5, "1.23456785E7"),
        (1e10, "1.0E10"),
        (-1.5e16, "-1.5E16"),
        (1e22, "1.0E22"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
    ],
)
def test_a_scalar_is_written_as_in_java(value: Scalar, text: str) -> None:
    assert text == text_of(value)
