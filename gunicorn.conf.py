"""The refusal of gunicorn without `-c`: it reads this file if it is started in this folder."""

import sys

sys.exit(
    "Start the hub with gunicorn -c config/gunicorn/hub.py 'wsgi:hub()' and REST with gunicorn -c config/gunicorn/rest.py 'wsgi:rest()': "
    "gunicorn has no worker class eventlet since 26, so that both configurations name worker classes of their own."
)
