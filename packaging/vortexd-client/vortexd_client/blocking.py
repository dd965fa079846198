"""`watch` for any thread."""

from .client.blocking import Config, watch

__all__ = ["Config", "watch"]
