#!/bin/sh
# Segment every scan of a folder, as the FLARE challenges ask for it:
#
#     sh predict.sh                                    /workspace/inputs -> /workspace/outputs
#     sh predict.sh INPUTS OUTPUTS [OPTION ...]        options of `flare segment`, as --device cpu,
#                                                      or --scheme flare24_task1 (lesion = 1)
#
# CASE_0000.nii.gz becomes CASE.nii.gz, and nothing else is written to OUTPUTS. The model is loaded
# once, each label map appears when it is done, and a scan that fails stops no other one. A scan
# without any abdominal organ gets an empty label map: here, no answer counts as a wrong one. Scans
# whose label maps would have one name (a_0000.nii.gz beside a.nii) all fail, and nothing is written.
# Exit codes: 0 all done, 1 some scan failed (it is named), 2 nothing could be done. `make setup`
# prepares a clone once.
set -u

inputs=${1:-/workspace/inputs}
outputs=${2:-/workspace/outputs}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] && shift

here=$(cd "$(dirname "$0")" && pwd) || exit 2
PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH} # from a clone; in the container flare_core is installed
export PYTHONPATH
say() { printf '%s\n' "$*" >&2; }
give_up() { say "predict.sh: $*"; exit 2; }

# The Python with our packages: of the clone's .venv, of the container, or of a `flare` on the PATH.
needed="flare_core numpy scipy SimpleITK safetensors torch"
lacks() { # PYTHON: names those of them that it does not find; none is imported, and nothing else
    # shellcheck disable=SC2086
    "$1" -c 'import sys
sys.path[:] = [sys.argv[1], *filter(None, sys.path)]
from importlib.util import find_spec
print(", ".join(name for name in sys.argv[2:] if not find_spec(name)))' "$here" $needed 2>/dev/null ||
        printf 'a start'
}
of_flare() { # the Python that an installed `flare` names in its first lines, however long its path
    flare=$(command -v flare) && sed -n -e '1s|^#! *\(/.*python[^ ]*\).*|\1|p' \
        -e "2s|^'''exec' \"\{0,1\}\(/[^\"]*python[^\" ]*\).*|\1|p" "$flare" 2>/dev/null
}
python=$here/.venv/bin/python
[ -x "$python" ] || python=$(command -v python3) || python=python3
missing=$(lacks "$python")
if [ -n "$missing" ] && other=$(of_flare) && [ -n "$other" ] && [ -z "$(lacks "$other")" ]; then
    python=$other missing=
fi
if [ -n "$missing" ]; then
    say "Python: not usable."
    say "  came:   $python, without $missing"
    say "  legal:  a Python with $needed: .venv beside predict.sh, or an installed flare's"
    say "  to do:  Run: make -C '$here' setup"
    exit 2
fi

# What Python runs first: nothing in the current folder may be imported, only what is here.
start='import sys; sys.path[:] = [sys.argv.pop(1), *filter(None, sys.path)]
if sys.argv[1:2] == ["-m"]:
    import runpy
    del sys.argv[0]
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)'

[ -d "$inputs" ] || give_up "there is no folder $inputs; give INPUTS and OUTPUTS"
mkdir -p "$outputs" && [ -w "$outputs" ] || give_up "the folder $outputs cannot be written"
there() { [ -e "$1" ] || [ -L "$1" ]; } # a link to nowhere is a scan that fails, too
found=no
for scan in "$inputs"/*.nii.gz "$inputs"/*.nii; do there "$scan" && found=yes; done
[ $found = yes ] || give_up "$inputs holds no scan (*.nii.gz)"

# One process takes a request per line and answers in lines, through two pipes.
pipes=$(mktemp -d) || give_up "no temporary folder can be made"
worker=
leave() {
    exec 3>&- 4<&-
    [ -z "$worker" ] || kill "$worker" 2>/dev/null
    rm -rf "$pipes"
}
trap leave EXIT
trap 'exit 130' INT TERM HUP
trap '' PIPE # a worker that is gone is noticed when its answer is missing
mkfifo "$pipes/requests" "$pipes/answers" || give_up "no pipe can be made in $pipes"
begin() { # start the worker; its first line says that it listens
    "$python" -c "$start" "$here" -m flare_core segment --worker "$@" \
        <"$pipes/requests" >"$pipes/answers" &
    worker=$!
    exec 3>"$pipes/requests" 4<"$pipes/answers"
    IFS= read -r answer <&4
}

finish() { # the end of the requests ends the worker; an option that it refuses ends us
    exec 3>&-
    wait "$worker"
    [ $? -ne 2 ] || give_up "an option of these is wrong: $*"
    exec 4<&-
    worker=
}

text() { # as it stands between the quotes of JSON, whatever bytes a name is of
    case $1 in
    *[!A-Za-z0-9_./\ -]*)
        "$python" -I -c 'import json, sys; print(json.dumps(sys.argv[1])[1:-1])' "$1"
        ;;
    *) printf '%s' "$1" ;;
    esac
}

number=0
ask() { # SCAN LABELS: puts the last answer to this request, and to no other, into $answer
    number=$((number + 1))
    printf '{"id": %s, "command": "segment", "input": "%s", "output": "%s", "outputs": ["labels"]}\n' \
        "$number" "$(text "$1")" "$(text "$2")" >&3 2>/dev/null || return 1
    while IFS= read -r answer <&4; do
        case $answer in
        '{"id": '"$number"', "event": "result"'* | '{"id": '"$number"', "event": "error"'*) return 0 ;;
        esac
    done
    return 1 # the worker has ended
}

same_name() { # CASE: how many scans have this name
    count=0
    for other in "$inputs/$1.nii.gz" "$inputs/$1.nii" "$inputs/$1_0000.nii.gz" "$inputs/$1_0000.nii"; do
        there "$other" && count=$((count + 1))
    done
    printf '%s' "$count"
}

write_empty() { # SCAN LABELS
    "$python" - "$here" "$1" "$2" <<'PY'
import sys

sys.path[:] = [sys.argv.pop(1), *filter(None, sys.path)]

import numpy as np

from flare_core.imaging.files import read_geometry, write_labels
from flare_core.imaging.volume import Volume

scan, labels = sys.argv[1:]
grid = read_geometry(scan)
write_labels(labels, Volume(np.zeros(grid.shape, np.uint8), grid), like=scan)
PY
}

failed=0
begin "$@" || { finish "$@" && give_up "the program does not start; see above"; }
for scan in "$inputs"/*.nii.gz "$inputs"/*.nii; do
    there "$scan" || continue
    case=${scan##*/}
    case=${case%.gz}
    case=${case%.nii}
    case=${case%_0000}
    labels=$outputs/$case.nii.gz
    if [ "$(same_name "$case")" -gt 1 ]; then
        say "$case: failed: ${scan##*/} is not the only scan of this name; rename one (.gz and _0000 do not count)"
        failed=$((failed + 1))
        continue
    fi
    if ! ask "$scan" "$labels"; then
        say "$case: failed: the program has ended, as when memory is short; see above"
        failed=$((failed + 1))
        finish "$@"
        begin "$@" || give_up "the program does not start again; see above"
        continue
    fi
    case $answer in
    *'"event": "result"'*) say "$case: done" ;;
    *'"kind": "nothing_found"'*)
        say "$case: no abdominal organ found; an empty label map is written"
        write_empty "$scan" "$labels" || failed=$((failed + 1))
        ;;
    *)
        say "$case: failed: $(printf '%s' "$answer" | sed 's/.*"message": "//; s/\([^\\]\)"[,}].*/\1/; s/\\n */; /g; s/\\\(["\\]\)/\1/g')"
        failed=$((failed + 1))
        ;;
    esac
done

[ -z "$worker" ] || finish "$@"
[ "$failed" -eq 0 ] || exit 1
