"""Asks vortexd in this container for /health. Ends with 1 and a reason if it doesn't answer with 200 within 3 seconds.

python health.py [URL]
"""

import sys
import urllib.request

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8888/health"
try:
    with urllib.request.urlopen(url, timeout=3):
        pass
except OSError as error:
    # An answer with another status is an OSError, too.
    sys.exit(f"{url}: {error}")
