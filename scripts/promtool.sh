#!/bin/sh
# Print the path of promtool: the installed one, else the one of Debian's package `prometheus`,
# unpacked into .venv/promtool. Version 2.42 runs without the dependencies of the package.
# Without both, the exit code is 1 and standard error has the reason.
set -eu
cd "$(dirname "$0")/.."
folder=$PWD/.venv/promtool
tool=$folder/usr/bin/promtool

if command -v promtool; then exit 0; fi
if [ -x "$tool" ]; then echo "$tool" && exit 0; fi
for needed in apt-get dpkg flock; do
    command -v "$needed" >/dev/null || { echo "promtool is not in PATH, and $needed, which unpacks Debian's package, is missing: install Prometheus" >&2; exit 1; }
done
[ -d .venv ] || { echo "there is no .venv to unpack promtool into: run make venv" >&2; exit 1; }

mkdir -p "$folder"
exec 9>"$folder/.lock"
flock 9  # two test processes may start together
if [ ! -x "$tool" ]; then
    work=$(mktemp -d "$folder/unpack.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "unpacking promtool into .venv …" >&2
    apt() { apt-get -q -o Acquire::Retries=0 -o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15 "$@" >&2; }
    download() { (cd "$work" && apt download prometheus); }
    # The lists of packages may be absent or old: then they are read again, which only root may do.
    download || { apt update && download; } || { echo "Debian's package prometheus cannot be downloaded: install Prometheus" >&2; exit 1; }
    dpkg -x "$work"/prometheus_*.deb "$work/files"
    "$work/files/usr/bin/promtool" --version >/dev/null
    mkdir -p "$folder/usr/bin"
    mv "$work/files/usr/bin/promtool" "$tool"  # last: a path that exists is whole
fi
echo "$tool"
