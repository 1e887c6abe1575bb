"""gunicorn's configuration of the REST process: `gunicorn -c config/gunicorn/rest.py 'wsgi:rest()'`."""

from config.gunicorn.common import bind as _bind
from config.gunicorn.common import configure_logs as _configure_logs
from config.gunicorn.common import load as _load

_settings = _load()
_configure_logs("rest", _settings)

bind = _bind(_settings.api_host, _settings.api_port)
worker_class = "gthread"
workers = 1
threads = 8
graceful_timeout = 10
control_socket_disable = True  # gunicorn 27 opens a socket for commands otherwise
accesslog = None
loglevel = _settings.log_level.lower()
logger_class = "config.gunicorn.common.RootLogger"
