"""The least that quart-trio on Hypercorn can do for a route like ours: the yardstick of the benchmark `http`.

python -m tests.bench.hello PORT
"""

import sys

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart_trio import QuartTrio

app = QuartTrio(__name__, static_folder=None)


@app.get("/<application>/<profiles>")
async def hello(application: str, profiles: str) -> str:
    return "hello"


if __name__ == "__main__":
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.accesslog = None
    trio.run(serve, app, config)
