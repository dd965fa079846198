"""The commands of vortexctl that change something, and the lists of what was changed, with the real process."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from vortexd.ctl import acts, cli
from vortexd.ctl.errors import CtlError
from vortexd.ctl.server import Server as Address

from ..repository import Repository
from .process import Server
from .test_broken import ask, git_settings, until

SCHEMA = '{"properties": {"port": {"type": "integer"}}, "required": ["port"]}'
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def vortexctl(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(server: Server, *arguments: str) -> tuple[int, str, str]:
        status = cli.main([*arguments, "--server", f"http://127.0.0.1:{server.port}"])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_a_state_that_the_gate_holds_back_is_listed_and_let_through(tmp_path: Path, vortexctl: Run) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"shop.yml": "port: 1\n", "shop.schema.json": SCHEMA})
    settings = f"{git_settings(tmp_path / 'state', repository)}[[gate]]\nsource_schemas = true\ntimeout = 30.0\n"
    with Server(tmp_path / "x", settings=settings) as server:
        assert (0, "the gate holds nothing back\n", "") == vortexctl(server, "gate")
        bad = repository.commit({"shop.yml": "port: hunter2\n"})
        until(lambda: vortexctl(server, "gate")[0] == 1)
        _, out, _ = vortexctl(server, "gate")
        assert f"main: the gate holds back {bad} since " in out
        assert "    shop:default:main: type of shop.schema.json at /port (shop.yml:1)\n" in out
        assert "hunter2" not in out

        given = ("gate", "--let-through", "main", "--reason", "incident 7")
        status, _, err = vortexctl(server, *given, "--state", "beef" * 10)
        assert (3, True) == (status, " answered 4" in err)
        assert (0, f"the server has published state {bad} of main\n", "") == vortexctl(server, *given, "--state", bad)
        assert bad == ask(server, "/shop/default")[1]["version"]
        status, out, _ = vortexctl(server, "gate")
        assert (0, True) == (status, "main: the server serves what the gate would refuse\n" in out)


def test_the_audit_log_is_listed_and_a_path_that_the_server_lacks_is_named(tmp_path: Path, vortexctl: Run) -> None:
    source = tmp_path / "config"
    source.mkdir()
    (source / "shop.yml").write_text("a: 1\n")
    settings = (
        f'[server]\nbind = ["127.0.0.1:0"]\nstate_directory = "{tmp_path}/state"\n[[source]]\npath = "{source}"\n'
    )
    with Server(source, settings=settings) as server:
        assert (1, "the audit log has no entries\n", "") == vortexctl(server, "audit")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: vortexctl(server, "audit", "--act", "reload", "--since", "1h", "--who", "SIGHUP")[0] == 0)
        status, out, err = vortexctl(server, "audit", "--json")
        assert (0, "", "reload") == (status, err, json.loads(out)["act"])
        assert (1, "no entry of the audit log matches\n", "") == vortexctl(server, "audit", "--act", "pin")
        assert 0 == vortexctl(server, "audit", "--since", "2026-01-01")[0]

        address = Address(f"http://127.0.0.1:{server.port}")
        for send in (lambda path: address.post(path, {}), address.get, address.delete):
            with (
                pytest.raises(CtlError, match="has no /api/v1/other: this vortexd is older"),
                acts.endpoint(address, "/api/v1/other"),
            ):
                send("/api/v1/other")


def test_a_former_version_is_pushed_and_served(tmp_path: Path, vortexctl: Run) -> None:
    repository = Repository(tmp_path / "config.git")
    first = repository.commit({"shop.yml": "port: 1\n", "cart.yml": "a: 1\n"})
    newest = repository.commit({"shop.yml": "port: 2\n"})
    settings = git_settings(tmp_path / "state", repository) + "push = true\n"
    given = ("rollback", "shop:default", "--to", first, "--reason", "incident 7")
    with Server(tmp_path / "x", settings=settings) as server:
        status, plan, err = vortexctl(server, *given, "--dry-run")
        assert (0, "") == (status, err)
        assert plan.splitlines()[1:] == [
            "files:",
            "    change  shop.yml",
            "changes:",
            "- /port: 2",
            "+ /port: 1",
            "no other configuration changes",
        ]
        assert newest == repository.git("rev-parse", "main").strip()

        status, out, err = vortexctl(server, *given, "--yes")
        made = repository.git("rev-parse", "main").strip()
        assert (0, "") == (status, err)
        assert out.startswith(f"{plan}pushed commit {made}\nthe server serves version ")
        assert (0, "1\n", "") == vortexctl(server, "get", "shop", "default", "port")
        assert "incident 7" in repository.git("log", "-1", "--format=%B", "main")
        status, out, _ = vortexctl(server, *given, "--yes")
        assert (0, True) == (status, "there is nothing to push" in out)
        status, out, _ = vortexctl(server, "audit", "--act", "rollback")
        assert (0, 2, True) == (status, out.count("\n"), "  done     rollback shop:default:main  by " in out)

        status, out, err = vortexctl(server, *given[:3], "1234567", *given[4:], "--yes")
        assert (3, "", True) == (status, out, " answered 404: " in err)


def test_a_source_without_push_is_named_with_the_setting_and_the_pin(tmp_path: Path, vortexctl: Run) -> None:
    repository = Repository(tmp_path / "config.git")
    first = repository.commit({"shop.yml": "port: 1\n"})
    newest = repository.commit({"shop.yml": "port: 2\n"})
    with Server(tmp_path / "x", settings=git_settings(tmp_path / "state", repository)) as server:
        status, out, err = vortexctl(server, "rollback", "shop", "--to", first, "--reason", "x", "--yes")
        assert (3, True) == (status, out.endswith("no other configuration changes\n"))
        assert "set push = true in its [[source]]" in err
        assert f"vortexctl pin shop:default:main --to {first} --reason TEXT\n" in err
    assert newest == repository.git("rev-parse", "main").strip()


def test_a_pin_is_put_listed_and_lifted(tmp_path: Path, vortexctl: Run) -> None:
    repository = Repository(tmp_path / "config.git")
    first = repository.commit({"shop.yml": "port: 1\n"})
    repository.commit({"shop.yml": "port: 2\n"})
    key = "shop:default:main"
    with Server(tmp_path / "x", settings=git_settings(tmp_path / "state", repository)) as server:
        given = ("pin", key, "--to", first[:12], "--reason", "incident 7")
        status, out, err = vortexctl(server, *given, "--for", "2h")
        assert (0, "") == (status, err)
        assert out.startswith(f"{key} is pinned to version ")
        assert f" (commit {first[:12]})\nthe pin ends at 20" in out
        status, out, err = vortexctl(server, "get", "shop", "default", "port")
        assert (0, "1\n", True) == (status, out, "this configuration is pinned until 20" in err)
        status, out, _ = vortexctl(server, "pins")
        assert (0, 2, True) == (status, out.count("\n"), f" {first[:12]} " in out)
        assert out.endswith(" incident 7\n")
        status, out, err = vortexctl(server, *given)
        assert (3, "", True) == (status, out, " answered 409: " in err)

        assert (0, f"{key} is no longer pinned\n", "") == vortexctl(server, "unpin", key, "--reason", "over")
        assert (0, "2\n", "") == vortexctl(server, "get", "shop", "default", "port")
        assert (0, "no configuration that the token may see is pinned\n", "") == vortexctl(server, "pins")
        status, out, err = vortexctl(server, "unpin", "shop")
        assert (3, "", True) == (status, out, " answered 404: " in err)
        status, out, _ = vortexctl(server, "pin", "shop", "--reason", "for now")
        assert (0, True) == (status, out.endswith(f"vortexctl unpin {key}\n"))
        entries = [json.loads(line) for line in vortexctl(server, "audit", "--json")[1].splitlines()]
        done = [each["act"] for each in entries if each["outcome"] == "done"]
        assert ["pin", "lift pin", "pin"] == done
