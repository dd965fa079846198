"""Programs without Trio can import the pure modules, too."""

import subprocess
import sys


def test_the_core_is_imported_without_trio() -> None:
    code = "import sys, vortexd.client.protocol, vortexd.client.view, vortexd.client.server_rotation; sys.exit('trio' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode
