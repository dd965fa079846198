"""The adapter of vortexd.client on Trio as a fork: it asks `forks` for a process, and stands for it until that process has ended.

python -I -S tests/client/adapters/forked.py SOCKET

It imports as little as it can, because the runner starts one for each conversation.
"""

import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as link:
    link.connect(sys.argv[1])
    given = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("CONFORMANCE_")]
    socket.send_fds(link, ["\0".join(given).encode()], [0, 1, 2])
    # Now only the fork has them, so the runner notices when it closes them.
    for each in (0, 1, 2):
        os.close(each)
    status = link.recv(1)
os._exit(status[0] if status else 1)
