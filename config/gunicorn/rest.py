"""gunicorn's configuration of REST: `gunicorn -c config/gunicorn/rest.py 'wsgi:rest()'`."""

from config.gunicorn.common import access_check as _access_check
from config.gunicorn.common import bind as _bind
from config.gunicorn.common import child_exit as child_exit
from config.gunicorn.common import post_fork as post_fork
from config.gunicorn.common import post_worker_init as post_worker_init
from config.gunicorn.common import worker_exit as worker_exit
from config.logs.setup import start as _start

# gunicorn logs as soon as it has read this file, so that the logs are configured here.
_settings = _start("rest")

on_starting = _access_check("rest", _settings)
bind = _bind(_settings.api_host, _settings.api_port)
worker_class = "config.gunicorn.rest_worker.GuardedRestWorker"
workers = _settings.api_workers
threads = 8
worker_connections = 1000
forwarder_headers = ""  # no header may set SCRIPT_NAME or PATH_INFO
graceful_timeout = 10
control_socket_disable = True  # otherwise gunicorn 27 opens a socket for commands
accesslog = None
loglevel = _settings.log_level.lower()
logger_class = "config.gunicorn.common.RootLogger"
