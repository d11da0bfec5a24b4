#!/bin/sh
# Prints the path of the Python that fleetcast is set up with, or says on standard error what is
# missing and how to get it. Looks only: installs and writes nothing. $PYTHON names one to use.
set -u
cd "$(dirname "$0")/../.." || exit 1

# Runs on any Python, so its syntax is everybody's. Answers "ok PATH", or "no REASON".
probe='
import sys
version = ".".join(str(part) for part in sys.version_info[:3])
name = "Python " + version
def missing(modules):
    absent = []
    for module in modules:
        try:
            __import__(module)
        except ImportError:
            absent.append(module)
    return absent
try:
    import sysconfig
    freethreaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
except ImportError:
    freethreaded = False
if sys.version_info < (3, 11):
    print("no " + name + " is too old")
elif sys.version_info >= (3, 14):
    print("no " + name + " is too new: TensorFlow has no build for it yet")
elif sys.implementation.name != "cpython":
    print("no " + name + " is " + sys.implementation.name + ", and CPython is needed")
elif freethreaded:
    print("no " + name + " is a free-threaded build, which TensorFlow has none for")
elif sys.maxsize < 2**32:
    print("no " + name + " is a 32-bit build")
elif missing(["ssl", "zlib", "ctypes", "sqlite3", "bz2", "lzma"]):
    print("no " + name + " was built without " + ", ".join(
        missing(["ssl", "zlib", "ctypes", "sqlite3", "bz2", "lzma"])))
elif missing(["venv", "ensurepip"]):
    print("no " + name + " lacks " + " and ".join(missing(["venv", "ensurepip"])))
else:
    print("ok " + sys.executable)
'

seen=''
reasons=''
fitting=''

# Tries one executable: sets `fitting` if it will do, else notes why not.
try() {
    [ -f "$1" ] && [ -x "$1" ] || return 1
    case "$seen" in *"|$1|"*) return 1 ;; esac
    seen="$seen|$1|"
    answer=$("$1" -c "$probe" 2>/dev/null </dev/null) || answer="no it does not run"
    case "$answer" in
        'ok '*) fitting=${answer#ok }; return 0 ;; # not the shim, which may change its mind
        'no '*) ;;
        *) answer="no it does not answer as a Python does" ;;
    esac
    reasons="$reasons  $1: ${answer#no }
"
    return 1
}

# Tries a name in every folder of PATH: the first may be a shim with nothing behind it.
try_name() {
    rest="${PATH:-}:"
    while [ -n "$rest" ]; do
        folder=${rest%%:*}
        rest=${rest#*:}
        [ -n "$folder" ] && try "$folder/$1" && return 0
    done
    return 1
}

search() {
    try "$PWD/.venv/bin/python" && return 0
    for name in python3.13 python3.12 python3.11 python3 python; do
        try_name "$name" && return 0
    done
    for minor in 13 12 11; do
        for found in "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/3.$minor".*/bin/python3 \
            "${HOME:-}/.local/share/uv/python/cpython-3.$minor".*/bin/python3; do
            try "$found" && return 0
        done
    done
    return 1
}

if [ -n "${PYTHON:-}" ]; then
    case "$PYTHON" in
        */*) try "$PYTHON" ;;
        *) try_name "$PYTHON" ;;
    esac
    asked="PYTHON=$PYTHON was asked for"
else
    search
    asked="none fits on this machine"
fi
if [ -n "$fitting" ]; then
    echo "$fitting"
    exit 0
fi

lacking=$(printf '%s' "$reasons" | sed -n 's/.*: Python \(3\.1[123]\)\.[0-9]* lacks .*/\1/p' | head -n 1)
unbuilt=$(printf '%s' "$reasons" | sed -n 's/.*: \(Python 3\.1[123]\.[0-9]* was built without .*\)/\1/p' | head -n 1)
{
    echo "fleetcast needs Python 3.13, 3.12 or 3.11, and $asked."
    if [ -n "$reasons" ]; then
        echo "Looked at:"
        printf '%s' "$reasons"
    elif [ -n "${PYTHON:-}" ]; then
        echo "There is no such program."
    else
        echo "There is no Python here at all."
    fi
    echo "What helps:"
    if [ -n "$lacking" ]; then
        echo "  Debian, Ubuntu   sudo apt install python$lacking-venv"
        echo "  elsewhere        reinstall that Python with its venv and ensurepip modules"
    elif [ -n "$unbuilt" ]; then
        echo "  $unbuilt: rebuild it with their"
        echo "  development packages present, or take another one:"
    fi
    if [ -z "$lacking" ]; then
        echo "  Debian, Ubuntu   sudo apt install python3 python3-venv   (where that is 3.11 to 3.13)"
        echo "  Fedora           sudo dnf install python3.13"
        echo "  macOS            brew install python@3.13"
        echo "  any system       pyenv install 3.13, or: uv python install 3.13"
    fi
    echo "  one elsewhere    make nightly PYTHON=/path/to/python3.13"
} >&2
exit 1
