#!/bin/sh
# Makes $VENV with the package and its development tools. uv is used where pip can bring it (several times faster);
# plain pip otherwise. Both read constraints.txt, and uv is given pip's own index and find-links settings, since it does not read them.
set -eu
PYTHON="${PYTHON:-python3}"
VENV="${VENV:-.venv}"
"$PYTHON" - <<'PY' || exit 2
import sys
if sys.version_info < (3, 11):
    sys.exit(f"error: Python {sys.version.split()[0]}: found; allowed: 3.11 or newer; do: make setup PYTHON=python3.11")
PY
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
if "$VENV/bin/python" -m pip install -q --disable-pip-version-check uv 2>/dev/null; then
    links=$("$VENV/bin/python" -m pip config get global.find-links 2>/dev/null || "$VENV/bin/python" -m pip config get :env:.find-links 2>/dev/null || true)
    [ -z "$links" ] || export UV_FIND_LINKS="${UV_FIND_LINKS:-$(echo "$links" | tr ' \n' ',,' | sed 's/,*$//')}"
    if VIRTUAL_ENV="$VENV" "$VENV/bin/uv" pip install -q -c constraints.txt -e '.[dev,ocr,pacs,slides,text,study]'; then
        echo "set up with uv: $VENV" >&2
        exit 0
    fi
    echo "uv could not install everything; going on with pip" >&2
fi
"$VENV/bin/python" -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev,ocr,pacs,slides,text,study]'
echo "set up with pip: $VENV" >&2
