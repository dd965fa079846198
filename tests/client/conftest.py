import pytest

from .server import Servers


@pytest.fixture
def servers() -> Servers:
    return Servers()
