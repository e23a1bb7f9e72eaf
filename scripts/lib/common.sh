# What the shell scripts share. Sourced, after NAME (what messages begin with) and PREPARE (the command
# that gets before tests all that a script may need in them) are set.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${MCDROPOUT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mcdropout}

say() { echo "$NAME: $*" >&2; }
die() { echo "$NAME: error: $*" >&2; exit 1; }

# To be called before anything is installed, fetched or made that tests must find there: two of them that
# install at once meet each other's locks, and what one waits for counts against its time.
may_fetch() { # COMMAND ...
    [[ -z ${NEXTEST:-}${MCDROPOUT_OFFLINE:-} ]] || die "tests install nothing, so no '$*' here: run $PREPARE first"
}

apt() { # as scripts/lib/apt says
    may_fetch apt "$@"
    "$ROOT/scripts/lib/apt" "$@" >&2 || exit 1
}

apt_install() {
    may_fetch apt install "$@"
    say "installing $*"
    apt install "$@"
}

# Installs the packages of those commands that are not there.
need() { # COMMAND PACKAGE ...
    local missing=()
    while (($#)); do
        command -v "$1" >/dev/null || missing+=("$2")
        shift 2
    done
    ((${#missing[@]} == 0)) || apt_install "${missing[@]}"
}
