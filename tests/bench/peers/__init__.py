"""vortexd beside the WebSocket servers that install from public package registries, with one client program in C. Prints Markdown tables.

The peers are built in tests/bench/.peers, which takes some minutes the first time. One that can't be had is skipped, with the
reason. All servers are measured in turn, round by round, on one core, and the clients run on the other.

python -m tests.bench peers --rounds 5
python -m tests.bench peers --quick --rounds 2 --only vortexd --only 'C loop'
"""

from .benchmark import add_arguments, run

__all__ = ["add_arguments", "run"]
