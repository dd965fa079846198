"""The settings of the agent: agent.toml as frozen attrs classes. Defaults are defined only here.

Durations are seconds (float), sizes are bytes (int). Relative paths start at the directory of agent.toml.
"""

import re
import signal
from collections.abc import Callable
from urllib.parse import urlsplit

import attrs

from ..client.address import parse_address
from ..core import names
from ..core.constraints import Rule, path, seconds, texts, whole
from ..core.errors import InvalidName
from ..settings.log import LogSettings

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODE = re.compile(r"0[0-7]{3}")
_OTHERS_WRITE = 0o002
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\$?")
# No program can reload on these signals.
_NO_RELOAD = frozenset({"KILL", "STOP"})
SIGNALS = (
    frozenset(each.name.removeprefix("SIG") for each in signal.valid_signals() if isinstance(each, signal.Signals))
    - _NO_RELOAD
)


def _is_server(value: object) -> bool:
    parse_address(str(value))
    return True


def _is_post_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        is_whole = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return False
    return is_whole and parts.scheme in ("http", "https") and text.isascii() and text.isprintable() and " " not in text


def _text(default: str, allowed: str, accepts: Callable[[str], bool]) -> str:
    return attrs.field(default=default, metadata={"rule": Rule(allowed, lambda value: accepts(str(value)))})


def _name(default: str, kind: str, parse: Callable[[str], str]) -> str:
    def accepts(text: str) -> bool:
        try:
            return text == default or parse(text) != ""
        except InvalidName:
            return False

    return _text(default, f"the name of {kind}, as in the address of a configuration", accepts)


def _command() -> tuple[str, ...]:
    return texts("words without NUL", lambda value: "\0" not in str(value))


def _account(kind: str) -> str:
    return _text(
        "", f"the name or number of a {kind}, or empty", lambda text: not text or _ACCOUNT.fullmatch(text) is not None
    )


@attrs.frozen
class ServerSettings:
    """[server]: where configuration comes from.

    Attributes:
        url: Addresses of vortexd: `http://`, `https://`, `ws://` or `wss://` with a host and a port, or `unix:///path`. Several addresses
            must serve the same configuration; the agent tries them in turn.
        token_file: The file with the token, for servers that require one. `$CREDENTIALS_DIRECTORY` at the beginning is systemd's.
        ca_file: The authorities that sign the server's certificate, in PEM; "" for the system's.
        instance: The name under which the server lists this agent; "" is host:pid.
        start_timeout: Seconds within which the first state must arrive, with `--once` and `--dry-run`.
    """

    url: tuple[str, ...] = texts("an address such as http://config.example:8888", _is_server, "http://127.0.0.1:8888")
    token_file: str = path()
    ca_file: str = path()
    instance: str = _text("", "at most 128 printable characters", lambda text: len(text) <= 128 and text.isprintable())
    start_timeout: float = seconds(30.0)


@attrs.frozen
class AgentSettings:
    """[agent]: the agent itself.

    Attributes:
        state_directory: The directory in which the agent keeps its knowledge of the files. "" means $STATE_DIRECTORY, as systemd sets it,
            else $XDG_STATE_HOME/vortexctl, else ~/.local/state/vortexctl.
        last_known_good: Keep each configuration in the state directory, unencrypted. If no server can be reached at a start, use it.
        report_stderr: Send the server the end of a failed command's stderr. It may hold secrets.
    """

    state_directory: str = path()
    last_known_good: bool = False
    report_stderr: bool = True


@attrs.frozen
class HookSettings:
    """[[hook]]: an action to run after a configuration has changed.

    Attributes:
        application: The application whose configuration to follow.
        profile: Its profile, or several separated by commas.
        label: Its label; "" is the server's default label.
        reload: A command that makes a program take up the change: the program and its arguments.
        signal: Instead of `reload`, a signal such as "HUP" for the process in `pid_file`.
        pid_file: The file that holds the process ID.
        post: Instead of both, an `http://` or `https://` address to POST to, such as Spring's /actuator/refresh.
        authorization_file: The file with the value of the header Authorization for `post`; "" for none.
        shell: `reload` and `check` are each one text, for /bin/sh.
        reload_timeout: Seconds that a reload may take.
        quiet_period: Seconds without a change before the agent acts.
        max_wait: Seconds after the first change at which the agent acts even if changes go on.
        splay: Up to so many further seconds, by chance, so that not all machines reload at the same time.
    """

    application: str = _name("", "an application", names.application)
    profile: str = _name("default", "a profile", names.profile)
    label: str = _name("", "a label, or several separated by commas", names.labels)
    reload: tuple[str, ...] = _command()
    signal: str = _text(
        "", "the name of a signal, such as HUP or USR1, or empty", lambda text: not text or text in SIGNALS
    )
    pid_file: str = path()
    post: str = _text(
        "",
        "an http:// or https:// address without a password in it, or empty",
        lambda text: not text or _is_post_url(text),
    )
    authorization_file: str = path()
    shell: bool = False
    reload_timeout: float = seconds(30.0)
    quiet_period: float = seconds(1.0, 0)
    max_wait: float = seconds(10.0, 0)
    splay: float = seconds(0.0, 0)


@attrs.frozen
class TemplateSettings(HookSettings):
    """[[template]]: a file made from a configuration, and a hook for it.

    Attributes:
        source: The template.
        target: The file to write.
        mode: The file's mode, such as "0640". "" keeps the mode of an existing file, and is "0600" for a new file.
        owner: The name or number of its owner. "" keeps the owner of an existing file, and is the agent's user for a new file.
        group: The name or number of its group; "" works as for `owner`.
        check: A command that fails if the new file is bad. `{file}` in its words becomes the path of the file; VORTEXD_FILE holds it, too.
        check_timeout: Seconds that a check may take.
        environment: Variables of the agent's environment that the template may read.
        max_bytes: The largest allowed file, in bytes.
    """

    source: str = path()
    target: str = path()
    mode: str = _text(
        "",
        'four octal digits such as "0640", not writable by everybody, or empty',
        lambda text: not text or (_MODE.fullmatch(text) is not None and not int(text, 8) & _OTHERS_WRITE),
    )
    owner: str = _account("user")
    group: str = _account("group")
    check: tuple[str, ...] = _command()
    check_timeout: float = seconds(30.0)
    environment: tuple[str, ...] = texts(
        "the name of a variable", lambda value: _VARIABLE.fullmatch(str(value)) is not None
    )
    max_bytes: int = whole(16_777_216, 1, 268_435_456)


@attrs.frozen
class Settings:
    """The whole of agent.toml."""

    server: ServerSettings = attrs.field(factory=ServerSettings)
    agent: AgentSettings = attrs.field(factory=AgentSettings)
    template: tuple[TemplateSettings, ...] = ()
    hook: tuple[HookSettings, ...] = ()
    log: LogSettings = attrs.field(factory=LogSettings)
