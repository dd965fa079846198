"""Runs git safely: arguments arrive, and git's output leaves. Each call has a deadline and leaves no process behind.

The invariant: git sees only the environment and configuration that this module sets. No configuration of the machine,
the user or the repository can make it run a command, ask a question or follow a redirection. Nor can it make git use
another protocol than the address's own. Secrets are passed in a memory file that git inherits, never in arguments or in
the environment.
"""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import attrs
import trio

from ...core.errors import SourceError
from ...core.pushes import REMOTE_SAYS
from ...settings.secrets import expanded, needs_passphrase, read_secret
from .complaints import Fault, culprit, fault_of, is_key_refused, is_shallow, push_fault_of, remote_lines
from .remotes import Remote
from .settings import GitSettings

# The variables that git inherits from the server: to find git and ssh, the user's ssh keys, proxies and certificates.
_HANDED_ON = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *(name for each in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (each, each.upper())),
)
_FIXED = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    # Set but empty, so that git and ssh never ask for a password, not even through $SSH_ASKPASS.
    "GIT_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_PROTOCOL_FROM_USER": "0",
    "GIT_SSH_VARIANT": "ssh",
}
# A remote sends a changed directory as a difference from the former one. git stores the former one again with it, and would
# compress that for longer than all other work on a fetch of a large directory. `git gc` removes it.
_CONFIGURATION = {
    "core.compression": "0",
    "pack.compression": "-1",
    "core.hooksPath": "/dev/null",
    "core.symlinks": "false",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "credential.helper": "",
    "init.defaultBranch": "main",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "fetch.writeCommitGraph": "false",
    "protocol.version": "2",
    "transfer.bundleURI": "false",
    "transfer.fsckObjects": "true",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "100",
    "core.packedGitWindowSize": "32m",
    "core.packedGitLimit": "256m",
    "pack.threads": "1",
}
# Faults of old commits, tags and modes that `git clone` accepts, too: identities, dates, time zones, messages, names of
# tags. git 2.31 knows all of them. If a git doesn't know one, it warns and continues. Every check that protects paths
# and submodules stays an error.
_HARMLESS = (
    *("badDate", "badDateOverflow", "badEmail", "badName", "badTimezone", "zeroPaddedDate"),
    *("missingAuthor", "missingCommitter", "missingEmail", "missingNameBeforeEmail", "multipleAuthors"),
    *("missingSpaceBeforeDate", "missingSpaceBeforeEmail", "missingTaggerEntry", "badTagName"),
    *("extraHeaderEntry", "nulInCommit", "badFilemode", "zeroPaddedFilemode"),
)
_SSH = (
    *("ssh", "-F", "/dev/null", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes", "-oConnectTimeout=15"),
    *("-oServerAliveInterval=15", "-oServerAliveCountMax=2", "-oClearAllForwardings=yes"),
)
# POSIX counts files in blocks of 512 bytes and memory in KiB. If a limit can't be set, the deadline still ends the
# call.
_LIMITED = 'ulimit -f "$1" 2>/dev/null; ulimit -v "$2" 2>/dev/null; shift 2; exec "$@"'
_MEMORY_BYTES = 4 * 2**30
_HELPER = '!f() { if test "$1" = get; then cat "/proc/self/fd/%d"; fi; }; f'

_SHALLOW = (
    "the remote is a shallow clone, and git fetches only branches with complete history from it; "
    "run git fetch --unshallow there, or use the repository that it was cloned from"
)
_KEY_REMEDY = "remove it with ssh-keygen -p, or add the key to an agent and set SSH_AUTH_SOCK for vortexd"
MAX_OUTPUT = 64 * 2**20
_MAX_COMPLAINT = 16_384
_REAP_TIMEOUT = 5.0
_LINE_END = re.compile(r"[\n\r]")


class GitError(SourceError):
    """A failed call of git, with git's message in one line.

    Attributes:
        fault: The cause.
        culprit: The object of the remote that is at fault, with the reason; "" if there is none.
    """

    def __init__(self, reason: str, fault: Fault = Fault.UNKNOWN, culprit: str = "") -> None:
        self.fault = fault
        self.culprit = culprit
        super().__init__(reason)


class TooMuch(SourceError):
    """git printed more than the limit."""


@attrs.frozen
class Git:
    """Runs git for one mirror of one remote.

    Attributes:
        directory: The bare repository.
    """

    directory: str
    remote: Remote
    settings: GitSettings

    async def run(
        self,
        *arguments: str,
        timeout: float,
        input: bytes = b"",
        is_remote: bool = False,
        max_bytes: int = MAX_OUTPUT,
        variables: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run git to its end, and return its output.

        Args:
            timeout: The seconds after which git is killed, with all processes that it has started.
            is_remote: Whether git talks to the remote. If so, it gets the credentials.
            variables: More variables of the environment.

        Raises:
            GitError: The call failed or took too long.
            TooMuch: git printed more than `max_bytes`.
            SourceError: A secret can't be read.
        """
        output, complaint = bytearray(), bytearray()
        with self._credential(is_remote) as (environment, descriptors):
            with trio.move_on_after(timeout) as scope:
                async with self._started(arguments, {**environment, **(variables or {})}, descriptors) as process:
                    assert process.stdin is not None
                    assert process.stdout is not None
                    assert process.stderr is not None
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_feed, process.stdin, input)
                        nursery.start_soon(_keep_end, process.stderr, complaint, _MAX_COMPLAINT)
                        is_whole = await _keep(process.stdout, output, max_bytes, True)
                        if not is_whole:
                            nursery.cancel_scope.cancel()
                    status = await process.wait() if is_whole else 0
        if scope.cancelled_caught:
            raise GitError(f"git {arguments[0]} took longer than {round(timeout, 1):g} s", Fault.LATE)
        if not is_whole:
            raise TooMuch(f"git {arguments[0]} printed more than {max_bytes} bytes")
        said = complaint.decode("utf-8", "replace")
        if arguments[0] == "push":
            # Its report about each ref is in its output, and has no words of the remote but a ref's reason.
            said = output.decode("utf-8", "replace") + said
        if status != 0:
            raise self._error(arguments[0], status, said)
        if is_remote and is_shallow(said):
            raise GitError(_SHALLOW, Fault.SHALLOW)
        return bytes(output)

    @asynccontextmanager
    async def kept_open(self, *arguments: str) -> AsyncIterator[trio.Process]:
        """Start git, and kill it when the context ends. Its error messages are dropped."""
        async with self._started(arguments, self.environment(), (), keeps_complaints=False) as process:
            yield process

    @asynccontextmanager
    async def _started(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        descriptors: Sequence[int],
        *,
        keeps_complaints: bool = True,
    ) -> AsyncIterator[trio.Process]:
        limits = (str(self.settings.mirror_bytes // 512 + 1), str(_MEMORY_BYTES // 1_024))
        try:
            process = await trio.lowlevel.open_process(
                ["/bin/sh", "-c", _LIMITED, "sh", *limits, "git", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if keeps_complaints else subprocess.DEVNULL,
                env=dict(environment),
                pass_fds=descriptors,
                # A process group of its own, so that it can be killed with its children.
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            raise GitError(f"git can't be started: {(error.strerror or 'error').lower()}") from None
        try:
            yield process
        finally:
            await _end(process)

    def environment(self, credential: int | None = None) -> dict[str, str]:
        """Return the complete environment of git.

        Args:
            credential: The descriptor from which git can read the credential.
        """
        environment = {name: os.environ[name] for name in _HANDED_ON if name in os.environ} | _FIXED
        environment |= {
            "GIT_DIR": self.directory,
            "GIT_ALLOW_PROTOCOL": self.remote.scheme,
            "GIT_SSH_COMMAND": shlex.join(self._ssh()),
        }
        if self.settings.ca_file:
            environment["GIT_SSL_CAINFO"] = expanded(self.settings.ca_file)
        configuration = _CONFIGURATION | dict.fromkeys((f"fetch.fsck.{each}" for each in _HARMLESS), "ignore")
        configuration |= {
            "http.lowSpeedTime": str(max(1, min(30, int(self.settings.fetch_timeout)))),
            "safe.directory": self.directory,
        }
        if credential is not None:
            configuration[f"credential.{self.remote.site}.helper"] = _HELPER % credential
        if self.remote.scheme == "file":
            # git ignores the rest of this configuration before it serves a repository on this machine.
            environment["GIT_CONFIG_GLOBAL"] = trusting(self.directory)
        for index, (name, value) in enumerate(configuration.items()):
            environment |= {f"GIT_CONFIG_KEY_{index}": name, f"GIT_CONFIG_VALUE_{index}": value}
        return environment | {"GIT_CONFIG_COUNT": str(len(configuration))}

    def _ssh(self) -> Iterator[str]:
        yield from _SSH
        if self.settings.ssh_key:
            yield from ("-oIdentitiesOnly=yes", "-i", expanded(self.settings.ssh_key))
        if self.settings.known_hosts:
            yield f"-oUserKnownHostsFile={expanded(self.settings.known_hosts)}"

    @contextmanager
    def _credential(self, is_remote: bool) -> Iterator[tuple[dict[str, str], tuple[int, ...]]]:
        """Return the environment and the descriptors to inherit, for a call that may need the credential."""
        password = self._password() if is_remote else ""
        if not password:
            yield self.environment(), ()
            return
        user = self.settings.username or self.remote.user or "x-access-token"
        try:
            descriptor = os.memfd_create("credential", os.MFD_CLOEXEC)
        except OSError as error:
            raise SourceError(f"the password can't be handed to git: {(error.strerror or 'error').lower()}") from None
        try:
            os.write(descriptor, f"username={user}\npassword={password}\n".encode())
            yield self.environment(descriptor), (descriptor,)
        finally:
            os.close(descriptor)

    def _password(self) -> str:
        return read_secret(self.settings.password_file) if self.settings.password_file else self.remote.password

    def _error(self, command: str, status: int | None, complaint: str) -> GitError:
        fault = push_fault_of(complaint) if command == "push" else fault_of(complaint)
        if fault is Fault.SHALLOW:
            return GitError(_SHALLOW, fault)
        if fault is Fault.OBJECT:
            why = culprit(complaint)
            return GitError(f"git {command} failed: {why}", fault, why)
        reason = self._reason(command, status, complaint)
        if command == "push" and fault is Fault.REJECTED:
            # A hook may say what to do.
            lines = remote_lines(complaint, self._secrets())
            reason += (REMOTE_SAYS + " / ".join(lines)) if lines else ""
        return GitError(reason, fault)

    def _secrets(self) -> list[str]:
        """Return the passwords that git may have."""
        return [*filter(None, (self.remote.password, self.settings.password_file and self._password()))]

    def _reason(self, command: str, status: int | None, complaint: str) -> str:
        """Return git's message about a failure in one line.

        It contains git's own text, none from the remote, and no secret. See `_error` for the words of a hook.
        """
        lines = [line.replace("\t", " ").strip() for line in lines_of(complaint)]
        own = [line for line in lines if line and not line.startswith(("remote:", "warning:", "hint:", "@", "To "))]
        # The fatal message comes last, with the reason just before it. Advice may follow.
        end = next((index for index, line in enumerate(own) if line.startswith("fatal:")), len(own) - 1) + 1
        said = " / ".join("".join(filter(str.isprintable, line)) for line in own[max(0, end - 3) : end])[:400]
        for secret in self._secrets():
            said = said.replace(secret, "***")
        if "dubious ownership" in said:
            said = f"{self.directory} or the repository belongs to another user; chown it to the one vortexd runs as"
        if is_key_refused(complaint) and self.settings.ssh_key and needs_passphrase(self.settings.ssh_key):
            said = f"{self.settings.ssh_key} is protected by a passphrase, which vortexd cannot enter; {_KEY_REMEDY}"
        if status is not None and status < 0:
            said = f"ended by {signal.Signals(-status).name}; raise source.mirror_bytes if the repository is that large"
        return f"git {command} failed: {said or f'exit status {status}'}"


def lines_of(complaint: str) -> list[str]:
    """Return the lines of git's messages.

    git puts `remote:` before the text of the remote after these two characters only. So after any other character, such as
    a vertical tab, the text is still the remote's.
    """
    return _LINE_END.split(complaint)


def trusting(directory: str) -> str:
    """Return the configuration file next to a mirror. It lets git serve a local repository of another user."""
    return directory + ".gitconfig"


async def _end(process: trio.Process) -> None:
    """Kill a process with all processes that it has started, unless it has ended.

    Wait for it, even if this task is cancelled.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    # Killed processes end at once, except those that are stuck in the kernel.
    with trio.CancelScope(shield=True, deadline=trio.current_time() + _REAP_TIMEOUT):
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                await stream.aclose()
        await process.wait()


async def _feed(stream: trio.abc.SendStream, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):
        await stream.send_all(data)
    await stream.aclose()


async def _keep_end(stream: trio.abc.ReceiveStream, kept: bytearray, max_bytes: int) -> None:
    """Read to the end, and keep the last part, because a program's last message tells why it ended.

    If a part is dropped, the rest of its last line is dropped, too: it may be the remote's, and has lost its `remote:`.
    """
    is_cut = False
    while data := await stream.receive_some(65_536):
        kept += data
        is_cut = is_cut or len(kept) > max_bytes
        del kept[:-max_bytes]
    if is_cut:
        ends = [end for end in (kept.find(b"\n"), kept.find(b"\r")) if end >= 0]
        del kept[: min(ends) + 1 if ends else len(kept)]


async def _keep(stream: trio.abc.ReceiveStream, kept: bytearray, max_bytes: int, is_strict: bool = False) -> bool:
    """Read to the end, and keep the first part.

    Return whether that was everything. If `is_strict`, stop at the first excess byte.
    """
    is_whole = True
    while data := await stream.receive_some(65_536):
        is_whole = is_whole and len(kept) + len(data) <= max_bytes
        if is_strict and not is_whole:
            return False
        kept += data[: max(0, max_bytes - len(kept))]
    return is_whole
