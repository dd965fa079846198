"""The smallest possible quart-trio server on Hypercorn with a route like vortexd's. The benchmark `http` compares vortexd with it.

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
