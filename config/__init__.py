"""Settings, logs, and how the processes are started."""

VERSION = "0.1.0"
