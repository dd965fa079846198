"""The same settings as classes of attrs, dataclasses and pydantic, so that each test can run with all of them."""

import dataclasses
import datetime
import enum
from typing import Annotated, Any, Literal, NewType, Optional

import attrs
import pydantic

Host = NewType("Host", str)


class Color(enum.Enum):
    RED = "r"
    DARK_BLUE = "db"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@attrs.frozen
class PoolOfAttrs:
    size: int
    timeout: datetime.timedelta = datetime.timedelta(seconds=1)


@attrs.frozen
class OfAttrs:
    pool: PoolOfAttrs
    is_new: bool
    hosts: list[Host] = attrs.field(factory=list)
    color: Color = Color.RED
    level: Level = Level.LOW
    mode: Literal["a", "b"] = "a"
    limit: Optional[int] = None  # noqa: UP045 - both spellings are in use
    ratio: Annotated[float | None, "a note"] = None
    pools: dict[str, PoolOfAttrs] = attrs.field(factory=dict)
    servers: tuple[PoolOfAttrs, ...] = ()
    pair: tuple[int, str] | None = None
    raw: Any = None


@dataclasses.dataclass(frozen=True)
class PoolOfDataclasses:
    size: int
    timeout: datetime.timedelta = datetime.timedelta(seconds=1)


@dataclasses.dataclass(frozen=True)
class OfDataclasses:
    pool: PoolOfDataclasses
    is_new: bool
    hosts: list[Host] = dataclasses.field(default_factory=list)
    color: Color = Color.RED
    level: Level = Level.LOW
    mode: Literal["a", "b"] = "a"
    limit: Optional[int] = None  # noqa: UP045
    ratio: Annotated[float | None, "a note"] = None
    pools: dict[str, PoolOfDataclasses] = dataclasses.field(default_factory=dict)
    servers: tuple[PoolOfDataclasses, ...] = ()
    pair: tuple[int, str] | None = None
    raw: Any = None


class PoolOfPydantic(pydantic.BaseModel):
    size: int
    timeout: datetime.timedelta = datetime.timedelta(seconds=1)


class OfPydantic(pydantic.BaseModel):
    pool: PoolOfPydantic
    is_new: bool
    hosts: list[Host] = []
    color: Color = Color.RED
    level: Level = Level.LOW
    mode: Literal["a", "b"] = "a"
    limit: Optional[int] = None  # noqa: UP045
    ratio: Annotated[float | None, "a note"] = None
    pools: dict[str, PoolOfPydantic] = {}
    servers: tuple[PoolOfPydantic, ...] = ()
    pair: tuple[int, str] | None = None
    raw: Any = None


MODELS: list[Any] = [OfAttrs, OfDataclasses, OfPydantic]
