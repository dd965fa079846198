"""A source for pydantic-settings."""

from .client.pydantic_settings import VortexSettingsSource

__all__ = ["VortexSettingsSource"]
