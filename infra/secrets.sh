#!/bin/sh
# Prints secrets.env.example with random values: sh infra/secrets.sh > infra/.env
set -eu
while IFS= read -r line; do
  case $line in
    \#*) ;;
    *[=:]) line=$line$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n') ;;
  esac
  printf '%s\n' "$line"
done <"$(dirname "$0")/secrets.env.example"
