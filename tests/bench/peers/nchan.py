"""nchan on nginx with one worker: a WebSocket names its channels, and POST /pub?id= publishes.

python -m tests.bench.peers.nchan PORT
"""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from pathlib import Path

_MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
_MODULE = "ngx_nchan_module.so"
_CONFIG = """load_module {module};
user {user};
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    client_body_in_single_buffer on;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    tcp_nodelay on;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location = /sub {{
            nchan_subscriber websocket;
            nchan_channel_id $arg_ids;
            nchan_channel_id_split_delimiter ",";
            nchan_subscriber_first_message newest;
            nchan_websocket_ping_interval 0;
        }}
        location = /pub {{
            nchan_publisher http;
            nchan_channel_id $arg_id;
            nchan_store_messages off;
        }}
    }}
}}
"""


def missing() -> str | None:
    """Return the reason why nchan cannot run, or None."""
    if shutil.which("nginx") is None:
        return "nginx is not installed"
    return None if _module() else f"{_MODULE} is not installed (Debian: libnginx-mod-nchan)"


def _module() -> Path | None:
    return next((file for folder in _MODULES if (file := Path(folder) / _MODULE).is_file()), None)


def main(port: str) -> None:
    """Become nginx."""
    folder = Path(os.environ["HUB_DATA_DIR"]) / "nchan"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(module=_module(), user=pwd.getpwuid(os.getuid()).pw_name, folder=folder, port=port))
    os.execvp("nginx", ["nginx", "-c", str(config), "-e", "stderr"])  # noqa: S606 (the measured process is nginx)


if __name__ == "__main__":
    main(sys.argv[1])
