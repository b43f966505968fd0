#!/bin/sh
# Segment every scan of a folder, as the FLARE challenges ask for it:
#
#     sh predict.sh                                    /workspace/inputs -> /workspace/outputs
#     sh predict.sh INPUTS OUTPUTS [OPTION ...]        options of `flare segment`, as --device cpu,
#                                                      or --scheme flare24_task1 (lesion = 1)
#
# CASE_0000.nii.gz becomes CASE.nii.gz, and nothing else is written to OUTPUTS. The model is loaded
# once, each label map appears when it is done, and a scan that fails stops no other one. A scan
# without any abdominal organ gets an empty label map: here, no answer counts as a wrong one.
# Exit codes: 0 all done, 1 some scan failed (it is named), 2 nothing could be done.
set -u

inputs=${1:-/workspace/inputs}
outputs=${2:-/workspace/outputs}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] && shift

here=$(cd "$(dirname "$0")" && pwd) || exit 2
PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH} # from a clone; in the container flare_core is installed
export PYTHONPATH
python=$here/.venv/bin/python
[ -x "$python" ] || python=python3

# What Python runs first: nothing in the current folder may be imported, only what is here.
start='import sys; sys.path[:] = [sys.argv.pop(1), *filter(None, sys.path)]
if sys.argv[1:2] == ["-m"]:
    import runpy
    del sys.argv[0]
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)'

say() { printf '%s\n' "$*" >&2; }
give_up() { say "predict.sh: $*"; exit 2; }

[ -d "$inputs" ] || give_up "there is no folder $inputs; give INPUTS and OUTPUTS"
mkdir -p "$outputs" && [ -w "$outputs" ] || give_up "the folder $outputs cannot be written"
found=no
for scan in "$inputs"/*.nii.gz "$inputs"/*.nii; do [ -f "$scan" ] && found=yes; done
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
"$python" -c "$start" "$here" -m flare_core segment --worker "$@" <"$pipes/requests" >"$pipes/answers" &
worker=$!
exec 3>"$pipes/requests" 4<"$pipes/answers"

text() { printf '%s' "$1" | sed 's/[\\"]/\\&/g'; } # as it stands between the quotes of JSON

ask() { # SCAN LABELS: prints the last answer to this request
    printf '{"id": 1, "command": "segment", "input": "%s", "output": "%s", "outputs": ["labels"]}\n' \
        "$(text "$1")" "$(text "$2")" >&3 2>/dev/null || return 1
    while IFS= read -r line <&4; do
        case $line in
        *'"event": "result"'* | *'"event": "error"'*) printf '%s\n' "$line" && return ;;
        esac
    done
    return 1 # the worker has ended
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
for scan in "$inputs"/*.nii.gz "$inputs"/*.nii; do
    [ -f "$scan" ] || continue
    case=$(basename "$scan")
    case=${case%.gz}
    case=${case%.nii}
    case=${case%_0000}
    labels=$outputs/$case.nii.gz
    if ! answer=$(ask "$scan" "$labels"); then
        say "$case: the program has ended; see above"
        failed=$((failed + 1))
        break
    fi
    case $answer in
    *'"event": "result"'*) say "$case: done" ;;
    *'"kind": "nothing_found"'*)
        say "$case: no abdominal organ found; an empty label map is written"
        write_empty "$scan" "$labels" || failed=$((failed + 1))
        ;;
    *)
        say "$case: failed: $(printf '%s' "$answer" | sed 's/.*"message": "//; s/"[,}].*//; s/\\n */; /g')"
        failed=$((failed + 1))
        ;;
    esac
done

exec 3>&- # the end of the requests ends the worker
wait "$worker"
[ $? -ne 2 ] || give_up "an option of these is wrong: $*"
worker=
[ "$failed" -eq 0 ] || exit 1
