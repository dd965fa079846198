"""`watch` for programs on asyncio."""

from .client.asyncio import Config, watch

__all__ = ["Config", "watch"]
