#!/bin/sh
# Create .venv and install requirements files into it, unless that has been done before:
#   scripts/venv.sh requirements.txt [requirements-dev.txt …]
# A stamp per set of files holds their checksum, so that the next run takes no time. While the file
# .venv/.installing exists, an installation is incomplete. A package whose hash is not in the files is
# refused. The extension in native/ is built too, if there is a compiler; the hub works without it.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
EXTENSION="native/sendmany/*.c native/sendmany/*.py native/sendmany/*.pyi native/sendmany/*.toml"
stamp=.venv/.installed-$(echo "$*" | tr -c 'a-z.\n' '-')

say() { echo "$*" >&2; }

# shellcheck disable=SC2086  # the patterns are meant
checksum() { { .venv/bin/python -c 'import sys; print(sys.version)' && cat "$@" $EXTENSION; } | cksum; }

check_python() {
    if ! command -v "$PYTHON" >/dev/null; then
        say "Python 3.11 or newer is needed, and $PYTHON was not found. On Debian: apt install python3 python3-venv"
        exit 1
    fi
    if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        say "Python 3.11 or newer is needed; $PYTHON is $("$PYTHON" -V 2>&1 | cut -d' ' -f2). Select another one with: make PYTHON=/path/to/python3.11"
        exit 1
    fi
}

# Without the package python3-venv, Debian's python3 has no ensurepip; then virtualenv or pip is used.
create() {
    if ! [ -w . ]; then
        say "$(pwd) is not writable for this user: .venv cannot be made there. Run as its owner, or use a checkout of your own"
        exit 1
    fi
    rm -rf .venv
    "$PYTHON" -m venv .venv >/dev/null 2>&1 && return
    rm -rf .venv
    "$PYTHON" -m virtualenv -q .venv >/dev/null 2>&1 && return
    rm -rf .venv
    "$PYTHON" -m venv --without-pip .venv >/dev/null 2>&1 && "$PYTHON" -m pip --python .venv/bin/python install -q pip >/dev/null 2>&1 && return
    rm -rf .venv
    say "No virtual environment can be made with $PYTHON. On Debian: apt install python3-venv"
    exit 1
}

# In a copy: files that an earlier build has left could replace one that fails.
build_extension() {
    copy=$(mktemp -d)
    mkdir -p "$copy/native/sendmany"
    # shellcheck disable=SC2086  # the patterns are meant
    cp $EXTENSION "$copy/native/sendmany"
    (cd "$copy" && "$OLDPWD/.venv/bin/python" -m pip install -q --disable-pip-version-check --no-input --no-deps --no-build-isolation ./native/sendmany) >&2 || true
    rm -rf "$copy"
    .venv/bin/python -c 'import tickwire_sendmany' 2>/dev/null || say "no C compiler: the hub uses the Python loop"
}

complete() { ! [ -e .venv/.installing ] && .venv/bin/python -m pip --version >/dev/null 2>&1; }
installed() { complete && [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$(checksum "$@")" ]; }

# One call installs at a time: a second one would remove the environment that the first one fills.
lock() {
    if [ -w . ] && command -v flock >/dev/null; then
        exec 9>.venv.lock
        flock -n 9 || { say "another call installs into .venv: waiting …"; flock 9; }
    fi
}

if installed "$@"; then
    exit 0
fi
lock
if ! complete; then
    check_python
    create
fi
if installed "$@"; then
    exit 0
fi
say "installing into .venv …"
touch .venv/.installing
options=
for file; do options="$options -r $file"; done
# shellcheck disable=SC2086  # word splitting is intended
.venv/bin/python -m pip install -q --require-hashes --disable-pip-version-check --no-input $options
build_extension
checksum "$@" >"$stamp"
rm .venv/.installing
