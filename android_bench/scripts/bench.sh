#!/bin/sh
# Latency of .tflite files on a connected phone, as a table. Everything else is in `mhmodels bench --help`.
set -eu

usage() {
  cat >&2 <<TEXT
usage: $(basename "$0") [-s SERIAL] [-b BENCHMARK_MODEL] [-d DELEGATE]... FILE.tflite... [-- OPTION...]

  -s  phone, if there are several (mhmodels devices)
  -b  benchmark_model for the phone, if it is neither on it nor in your folder of tools
  -d  delegate, several if given several times; xnnpack and gpu-opencl if not given
  --  what follows goes to mhmodels bench, such as --store FILE, --json, --require-full-delegation
TEXT
  exit 2
}

# Words of the final command line collect behind the script's own arguments; `set --` keeps spaces in them.
count=$#
delegates=
while [ "$count" -gt 0 ]; do
  word=$1
  shift
  count=$((count - 1))
  case $word in
  -s | -b | -d)
    [ "$count" -gt 0 ] || usage
    case $word in
    -s) set -- "$@" --device "$1" ;;
    -b) set -- "$@" --benchmark-binary "$1" ;;
    -d) set -- "$@" --delegate "$1" && delegates=yes ;;
    esac
    shift
    count=$((count - 1))
    ;;
  --)
    while [ "$count" -gt 0 ]; do
      set -- "$@" "$1"
      shift
      count=$((count - 1))
    done
    ;;
  -*) usage ;;
  *) set -- "$@" "$word" ;;
  esac
done
[ $# -gt 0 ] || usage
[ -n "$delegates" ] || set -- "$@" --delegate xnnpack --delegate gpu-opencl
exec "${MHMODELS:-mhmodels}" bench "$@"
