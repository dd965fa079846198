"""nginx with the module nchan, from Debian's packages. They are unpacked, not installed."""

from pathlib import Path

from .base import Conversation, Peer, Program, free_port, post, step, tool

_PACKAGES = ("nginx", "libnginx-mod-nchan")
_MODULE = "usr/lib/nginx/modules/ngx_nchan_module.so"
_SETTINGS = """
load_module {module};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    nchan_max_reserved_memory 128m;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location /subscribe {{
            nchan_subscriber websocket;
            nchan_channel_id news;
            nchan_websocket_ping_interval {heartbeat};
            nchan_subscriber_first_message newest;
        }}
        location /publish {{ nchan_publisher; nchan_channel_id news; nchan_message_buffer_length 1; }}
    }}
}}
"""


class Nchan(Peer):
    name = "nginx nchan"
    conversation = Conversation("/subscribe")

    def install(self, cache: Path) -> str:
        if not (cache / "usr/sbin/nginx").exists() or not (cache / _MODULE).exists():
            for outdated in cache.glob("*.deb"):
                outdated.unlink()
            step([tool("apt-get"), "download", *_PACKAGES], cache)
            for package in cache.glob("*.deb"):
                step([tool("dpkg"), "-x", package, cache], cache)
        self._cache = cache
        [archive] = cache.glob("libnginx-mod-nchan_*.deb")
        version = step(["dpkg-deb", "-f", archive, "Version"], cache).strip()
        nginx = step([cache / "usr/sbin/nginx", "-v"], cache).strip().rpartition("/")[2]
        return f"{version.rpartition(':')[2]}, nginx {nginx}"

    def start(self, directory: Path, heartbeat: float) -> Program:
        port = free_port()
        settings = _SETTINGS.format(module=self._cache / _MODULE, port=port, heartbeat=max(1, round(heartbeat)))
        (directory / "nginx.conf").write_text(settings)
        command = [self._cache / "usr/sbin/nginx", "-p", directory, "-c", directory / "nginx.conf", "-e", "stderr"]
        # The master and its worker.
        return Program(command, port, lambda text: post(port, "/publish", text), directory, processes=2)
