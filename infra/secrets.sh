#!/bin/sh
# Writes secrets.env.example with random values into a file that only its owner may read: sh infra/secrets.sh infra/.env
# A file that is there already stays as it is: the databases know its passwords.
set -eu
umask 077
file=${1:?usage: sh infra/secrets.sh FILE}
draft=$(mktemp "$file.XXXXXX")
trap 'rm -f "$draft"' EXIT
while IFS= read -r line; do
  case $line in
    \#*) ;;
    *[=:])
      value=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
      line=$line${value:?no random numbers}
      ;;
  esac
  printf '%s\n' "$line"
done <"$(dirname "$0")/secrets.env.example" >"$draft"
ln "$draft" "$file" # unlike mv, it overwrites nothing
