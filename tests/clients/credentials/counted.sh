#!/bin/sh
# A credential helper in front of the real one of the same name in $COUNTED_REAL: writes a line for each run into
# $COUNTED_RUNS. Changes nothing, writes no secret down.
request=$(cat)
case $1 in
    store) server=$(printf '%s' "$request" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/') ;;
    *) server=$request ;;
esac
echo "${0##*/docker-credential-} $1 $server" >>"$COUNTED_RUNS"
printf '%s' "$request" | "$COUNTED_REAL/${0##*/}" "$@"
