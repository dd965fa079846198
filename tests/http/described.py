"""Finds all endpoints of vortexd in its package."""

import importlib
import inspect
import pkgutil
from typing import Any

import vortexd.http
from vortexd.http.endpoint import Endpoint
from vortexd.http.openapi import document


def endpoints() -> list[type[Endpoint]]:
    """The classes of all endpoints."""
    found = set()
    for module in pkgutil.iter_modules(vortexd.http.__path__):
        for each in vars(importlib.import_module(f"vortexd.http.{module.name}")).values():
            if isinstance(each, type) and issubclass(each, Endpoint) and not inspect.isabstract(each):
                found.add(each)
    return sorted(found, key=lambda each: each.__name__)


ENDPOINTS = endpoints()


def whole_document(prefix: str = "", *, is_open: bool = False) -> dict[str, Any]:
    """The OpenAPI document of all of them."""
    return document(ENDPOINTS, prefix, is_open=is_open)
