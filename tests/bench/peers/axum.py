"""Rust with axum, whose WebSockets are those of tokio-tungstenite."""

import re
from pathlib import Path

from .base import Peer, Program, free_port, post, replace, step, tool

_VERSION = "0.8.9"
_MANIFEST = f"""
[package]
name = "peer"
version = "0.0.0"
edition = "2021"

[dependencies]
axum = {{ version = "={_VERSION}", default-features = false, features = ["http1", "tokio", "ws"] }}
tokio = {{ version = "1", features = ["macros", "net", "rt", "sync", "time"] }}

[profile.release]
lto = "thin"
"""


class Axum(Peer):
    name = "axum"

    def install(self, cache: Path) -> str:
        cargo = tool("cargo")
        (cache / "src").mkdir(exist_ok=True)
        # Cargo builds again if a file is newer, even with the same content.
        replace(cache / "src/main.rs", Path(__file__).with_name("axum.rs").read_text())
        replace(cache / "Cargo.toml", _MANIFEST)
        step([cargo, "build", "--release", "--target-dir", cache / "target"], cache)
        self._program = cache / "target/release/peer"
        found = re.search(r'name = "tokio-tungstenite"\nversion = "(.*)"', (cache / "Cargo.lock").read_text())
        return f"{_VERSION}, tokio-tungstenite {found[1] if found else '?'}"

    def start(self, directory: Path, heartbeat: float) -> Program:
        port = free_port()
        return Program([self._program, port, heartbeat], port, lambda text: post(port, "/", text), directory)
