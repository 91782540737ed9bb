#!/usr/bin/env bash
# A worker with nothing but psql: DATABASE_URL=postgresql://... ./worker.sh orders ./pack
#
# The program, here ./pack, gets one payload on its stdin. If it ends well the message is acked, else it is released and
# tried again after a growing pause. Many such workers may run, beside those in other languages.
set -euo pipefail

queue=$1
shift
me="$(hostname):$$"
lease=${LEASE_SECONDS:-300}   # when a worker dies, its message comes back after this
look=${LOOK_SECONDS:-5}       # psql is not woken: it looks again

stopping=
trap 'stopping=yes' TERM INT  # bash waits for the program it runs, so a message that was begun is settled

# Run the SQL on stdin; what stands after `--set` are its variables, which psql quotes.
sql() {
  psql "$DATABASE_URL" --no-psqlrc --quiet --no-align --tuples-only --field-separator=$'\t' \
    --set ON_ERROR_STOP=1 --set VERBOSITY=verbose "$@"
}

claim() {
  sql --set queue="$queue" --set me="$me" --set lease="$lease seconds" <<'SQL'
SELECT id, token, coalesce(codec, '-'), payload FROM xclaim_claim(:'queue', :'me', lease => :'lease');
SQL
}

ack() {
  sql --set id="$1" --set token="$2" <<<"SELECT xclaim_ack(:id, :'token');"
}

release() {
  sql --set id="$1" --set token="$2" --set error="$3" <<'SQL'
SELECT attempts, available_at FROM xclaim_release(:id, :'token', error => :'error');
SQL
}

while [ -z "$stopping" ]; do
  IFS=$'\t' read -r id token codec payload <<<"$(claim)"
  if [ -z "$id" ]; then
    sleep "$look" & wait $! || true  # a signal ends this wait at once
    continue
  fi
  # What is encrypted, in a storage, or no plain JSON: the payload here is not what was pushed.
  if [ "$codec" != - ]; then
    release "$id" "$token" "only Python can read a payload with the codec $codec" >/dev/null &&
      echo "$id released: it has the codec $codec" || echo "$id not released" >&2
    continue
  fi
  # `timeout` ends what takes longer than the lease, when another worker may have the message.
  if timeout "$lease" "$@" <<<"$payload"; then
    # Fails with XC001 if the claim was lost: another worker has it.
    ack "$id" "$token" >/dev/null && echo "$id acked" || echo "$id not acked" >&2
  else
    release "$id" "$token" "$1 ended with status $?" >/dev/null && echo "$id released" || echo "$id not released" >&2
  fi
done
