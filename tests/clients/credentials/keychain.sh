#!/bin/sh
# A credential helper as desktops have one: keeps what it is given in $KEYCHAIN, one file for each server.
# Writes a line for each run into $COUNTED_RUNS. Only for passwords that are worth nothing.
request=$(cat)
file_of() { printf '%s/%s' "$KEYCHAIN" "$(printf '%s' "$1" | tr '/' '!')"; }
case $1 in
    store) server=$(printf '%s' "$request" | jq -r .ServerURL) ;;
    *) server=$request ;;
esac
echo "keychain $1 $server" >>"$COUNTED_RUNS"
file=$(file_of "$server")
case $1 in
    store) printf '%s\n' "$request" >"$file" ;;
    get) cat "$file" 2>/dev/null || { echo "credentials not found in native keychain" && exit 1; } ;;
    erase) rm "$file" 2>/dev/null || { echo "credentials not found in native keychain" && exit 1; } ;;
    list) cat "$KEYCHAIN"/* 2>/dev/null | jq -s 'map({(.ServerURL): .Username}) | add // {}' ;;
    *) echo "unknown action: $1" && exit 1 ;;
esac
