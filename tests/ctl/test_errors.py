"""The error that ends a command."""

import pytest

from vortexd.core.errors import VortexdError
from vortexd.ctl.errors import CtlError


def test_an_error_is_the_servers_unless_a_status_is_given() -> None:
    assert (3, "the server is away") == (CtlError("the server is away").status, str(CtlError("the server is away")))


@pytest.mark.parametrize("status", [1, 2, 3])
def test_an_error_carries_the_exit_status(status: int) -> None:
    assert status == CtlError("no", status).status


def test_a_handler_of_all_errors_of_vortexd_catches_it() -> None:
    with pytest.raises(VortexdError):
        raise CtlError("no")
