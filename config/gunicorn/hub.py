"""gunicorn's configuration of the hub: `gunicorn -c config/gunicorn/hub.py 'wsgi:hub()'`."""

from math import ceil as _ceil

from config.gunicorn.common import access_check as _access_check
from config.gunicorn.common import bind as _bind
from config.gunicorn.common import child_exit as child_exit
from config.gunicorn.common import post_fork as post_fork
from config.gunicorn.common import post_worker_init as post_worker_init
from config.gunicorn.common import worker_exit as worker_exit
from config.logs.setup import start as _start

# gunicorn logs as soon as it has read this file, so that the logs are configured here.
_settings = _start("hub")

on_starting = _access_check("hub", _settings)
bind = _bind(_settings.websocket_host, _settings.websocket_port)
worker_class = "config.gunicorn.eventlet_worker.EventletWorker"
workers = 1  # a Socket.IO session lives in one process
timeout = 90  # the watchdog ends a worker whose loop hangs after about 60 s, and logs the loop
graceful_timeout = _ceil(_settings.hub_stop_seconds)
control_socket_disable = True  # otherwise gunicorn 27 opens a socket for commands
accesslog = None
loglevel = _settings.log_level.lower()
logger_class = "config.gunicorn.common.RootLogger"
