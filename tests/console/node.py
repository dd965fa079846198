"""Runs Node for the parts of the console that need no browser."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="there is no node")
VORTEX = Path(__file__).parent.parent.parent / "vortexd" / "console" / "vortex.js"


def run_js(body: str, given: object) -> Any:
    """Run a function body on `given`, with the exports of vortex.js as `vortex`, and return its result."""
    script = (
        f"import * as vortex from {json.dumps(VORTEX.as_uri())};\n"
        "let text = ''; for await (const part of process.stdin) text += part;\n"
        f"const answer = ((given) => {{ {body} }})(JSON.parse(text));\n"
        "process.stdout.write(JSON.stringify(answer));\n"
    )
    command = [str(NODE), "--input-type=module", "--eval", script]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=60, check=False)
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)
