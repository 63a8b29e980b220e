# Shell functions that the scripts of this folder share: the two servers, and what they cost. They expect the folder `work`, and leave
# the process in `server` and its port in `port`.

## Servers: START CORES; each answers at `port`

start_sippet() {
  port=15060
  ERL_LIBS=_build/prod/lib taskset -c "$1" elixir --erl "+S $2 +sbwt none" bench/stack/server.exs >"$work/server.log" 2>&1 &
  await
}
start_kamailio() {
  port=15070
  sed "s/^children=.*/children=$2/" bench/stack/kamailio.cfg >"$work/kamailio.cfg"
  taskset -c "$1" kamailio -DD -E -m 1024 -f "$work/kamailio.cfg" -w "$work" -Y "$work" >"$work/server.log" 2>&1 &
  server=$!
  sleep 1.5
  alive
}
await() {
  server=$!
  for _ in $(seq 100); do grep -q listening "$work/server.log" && return; sleep 0.1; done
  alive
}
alive() { kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; return 1; }; }

## What they cost

# What a process and its children have run, in ticks of 10 ms.
ticks() {
  local pid ticks=0 one
  for pid in $1 $(pgrep -P "$1" || true); do
    one=$(sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }')
    ticks=$((ticks + one))
  done
  echo "$ticks"
}

median() { sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
