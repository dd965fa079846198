"""vortexd beside the WebSocket servers that install from public package registries, with one client program in C. Prints Markdown tables.

The peers are built in tests/bench/.peers, which takes about 8 minutes the first time. If one can't be built, its row states the
reason. All servers are measured in turn, round by round, on one core, and the clients run on the other. For the idle clients,
all servers run side by side, which takes 3 GB of memory. The tables go between the marks in README.md.

python -m tests.bench peers --rounds 5
python -m tests.bench peers --quick --rounds 2 --only vortexd --only 'C loop'
"""

from .benchmark import add_arguments, run

__all__ = ["add_arguments", "run"]
