#!/usr/bin/env bash
# Times on one GPU: large matrix products, steps of the paper's networks against PyTorch, and a part of a sweep.
#
#   bench/gpu.sh [--out FOLDER] [--cpu] [--budget SECONDS] [--python PYTHON] [--wheels FOLDER]
#
# Without a GPU, or with --cpu, everything is small, to try the script. bench/README.md describes it.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=${OUT:-$root/bench/out} device=gpu budget= python= wheels=
began=$SECONDS

fail() { echo "error: $1" >&2; exit 2; }
while [ $# -gt 0 ]; do
    case $1 in
        --cpu) device=cpu; shift; continue ;;
        --out | --budget | --python | --wheels) [ $# -ge 2 ] || fail "$1 needs a value" ;;
        *) fail "options are --out, --cpu, --budget, --python and --wheels, got $1" ;;
    esac
    printf -v "${1#--}" %s "$2"
    shift 2
done
[ -z "$wheels" ] || [ -d "$wheels" ] || fail "--wheels must be a folder, got $wheels"
[ -z "$python" ] || command -v "$python" > /dev/null || fail "--python must be a Python interpreter, got $python"
mkdir -p "$out" || fail "--out must be a folder that can be written, got $out"
if [ $device = gpu ] && ! nvidia-smi -L > /dev/null 2>&1; then
    echo "No GPU: nvidia-smi finds none. Everything is measured at small size on the CPU."
    device=cpu
fi
[ -n "$budget" ] || budget=$([ $device = gpu ] && echo 780 || echo 3600)
[[ $budget =~ ^[1-9][0-9]*$ ]] || fail "--budget must be a whole number of seconds above 0, got $budget"
export PYTHONPATH=$root:$root/bench${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
[ $device = gpu ] || export JAX_PLATFORMS=cpu CUDA_VISIBLE_DEVICES=
env=$root/.venv-gpu

# What a Python lacks, in one line for each thing; level "steps" is enough for all parts but the sweep.
lacks() { "$1" "$root/bench/gpu/ready.py" --device $device --level "$2"; }

# The pins: the versions of requirements.lock, with JAX's build for the driver's CUDA, and PyTorch 2.13.0.
install() {
    local extra= cuda limit=$((budget / 2))
    if [ $device = gpu ]; then
        cuda=$(nvidia-smi | sed -n 's/.*CUDA Version: *\([0-9]*\).*/\1/p')
        extra="[cuda$([ "${cuda:-12}" -ge 13 ] && echo 13 || echo 12)]"
    fi
    "${python:-python3}" -m venv "$env" || return 1
    local options=(--disable-pip-version-check --no-input -q --retries 1 --timeout 15 --constraint "$env/pins.txt")
    [ -z "$wheels" ] || options+=(--no-index --find-links "$wheels")
    sed -n 's/^\([A-Za-z0-9_.-]*==[^ ;\\]*\).*/\1/p' "$root/requirements.lock" > "$env/pins.txt"
    echo "Installing jax$extra and torch 2.13.0 into $env, with the versions of requirements.lock, in at most $limit s."
    timeout -k 10 "$limit" "$env/bin/python" -m pip install "${options[@]}" "jax$extra" torch==2.13.0 -e "$root" 2> "$env/pip.log" && return
    echo "Not installed: $(grep -m1 -E '^ERROR' "$env/pip.log" || echo "pip was stopped after $limit s")"
    return 1
}

chosen=
for level in sweep steps; do
    for each in ${python:+"$python"} "$env/bin/python" "$root/.venv-bench/bin/python" python3; do
        command -v "$each" > /dev/null || continue
        if lacks "$each" $level > "$out/lacks.txt"; then chosen=$each; break 2; fi
        echo "$each is not enough for level $level:"; sed 's/^/  /' "$out/lacks.txt"
    done
    [ $level = steps ] || { install && lacks "$env/bin/python" sweep && chosen=$env/bin/python; } && break
done
rm -f "$out/lacks.txt"
[ -n "$chosen" ] || fail "no Python has what the steps need; the lines above say what is missing"
echo "Python: $(command -v "$chosen"), device: $device, results: $out"
exec "$chosen" "$root/bench/gpu/parts.py" --device $device --out "$out" --budget $((budget - SECONDS + began))
