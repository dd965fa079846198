"""Print a configuration, or one key of it.

It reads the configuration of one key from the server, and prints it, or a part of it, in the requested format.
"""

import argparse
from collections.abc import Callable

from ..agent.environment import variables_of
from ..core.model import Json
from ..http.spring.scalars import text_of
from . import forms
from .configuration import read_configuration, warn
from .errors import CtlError
from .key import add_key_arguments, near
from .printing import put
from .server import add_server_arguments, server_of


def _to_env(value: Json, key: str) -> str:
    # `key` is only given with a value that isn't a whole document.
    found = variables_of({key: value} if key or not isinstance(value, dict) else value)
    if found.collisions:
        name, keys = next(iter(found.collisions.items()))
        raise CtlError(
            f"the variable {name} would stand for {' and '.join(keys)}; name a key, or use another --output", 1
        )
    left_out = [*found.left_out, *(name for name in found.values if not forms.is_shell_name(name))]
    if left_out:
        warn(f"left out, because these keys can't or must not become variables: {', '.join(left_out)}")
    return forms.to_env(found.values)


# Each format turns a value and its flat key into text.
FORMS: dict[str, Callable[[Json, str], str]] = {
    "yaml": lambda value, _: forms.to_yaml(value),
    "json": lambda value, _: forms.to_json(value),
    "properties": forms.to_properties_text,
    "env": _to_env,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command; see `cli.COMMANDS`."""
    add_key_arguments(parser)
    parser.add_argument(
        "key", metavar="KEY", nargs="?", default="", help="such as database.pool.size, or a parent such as database"
    )
    parser.add_argument(
        "--output", choices=FORMS, metavar="FORM", help=f"{', '.join(FORMS)} (default: yaml; a single value as text)"
    )
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the configuration. Return 1 if there is no such key."""
    server = server_of(arguments)
    configuration = read_configuration(server, arguments.app, arguments.profile, arguments.label)
    if not configuration.has_files:
        warn(f"no file is for {arguments.app} or for all applications; its configuration is empty")
    value = _part(configuration.document, arguments.key)
    if arguments.output is None and not isinstance(value, dict | list):
        put(("" if value is None else text_of(value)) + "\n")
    else:
        put(FORMS[arguments.output or "yaml"](value, arguments.key))
    return 0


def _part(document: dict[str, Json], key: str) -> Json:
    for value in forms.find(document, key):
        return value
    raise CtlError(f"there is no key {key} in this configuration{near([key], list(forms.keys_of(document)))}", 1)
