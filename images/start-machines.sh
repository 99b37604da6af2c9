#!/bin/sh
# Start the machines of docker-compose.yml, and write how they are reached to an ssh_config that lab reads:
# LAB_SSH_CONFIG, or lab/ssh_config in the user's folder for settings. Their host keys are asked of Docker, so that
# none is trusted on first use. COMPOSE_PROFILES=three starts a third one. `start-machines.sh down` removes the
# machines and what was written.
set -eu
umask 077
cd "$(dirname "$0")/.."

config=${LAB_SSH_CONFIG:-${XDG_CONFIG_HOME:-$HOME/.config}/lab/ssh_config}
keys=$(dirname "$config")/machines
services="m1 m2"
case ",${COMPOSE_PROFILES:-}," in *,three,*) services="m1 m2 m3" ;; esac
made="# Written by images/start-machines.sh: the machines of docker-compose.yml"
if docker compose version >/dev/null 2>&1; then
    compose() { docker compose "$@"; }
else
    compose() { docker-compose "$@"; }
fi

if [ -s "$config" ] && [ "$(head -n 1 "$config")" != "$made" ]; then
    echo "$config was not written by this script; move it away" >&2
    exit 3
fi
if [ "${1:-}" = down ]; then
    COMPOSE_PROFILES=three compose down -v
    rm -f "$config" "$keys/id_ed25519" "$keys/known_hosts"
    rmdir "$keys" 2>/dev/null || true
    [ -n "${LAB_SSH_CONFIG:-}" ] || rmdir "${config%/*}" 2>/dev/null || true
    exit 0
fi

${LAB:-./lab} images build lab/machine
compose up -d
mkdir -p "$keys"
rm -f "$keys/id_ed25519"
{
    echo "$made"
    : >"$keys/known_hosts"
    for service in $services; do
        container=$(compose ps -q "$service")
        tries=600 # of 0.1 s
        until docker exec "$container" sh -c 'docker version && test -s /run/sshd.pid' >/dev/null 2>&1; do
            tries=$((tries - 1))
            if [ "$tries" -eq 0 ]; then
                echo "$service does not start: docker logs $container" >&2
                exit 3
            fi
            sleep 0.1
        done
        port=$(docker port "$container" 22/tcp | head -n 1)
        port=${port##*:}
        [ -s "$keys/id_ed25519" ] || docker exec "$container" cat /keys/id_ed25519 >"$keys/id_ed25519"
        key=$(docker exec "$container" cut -d ' ' -f 1,2 /var/lib/docker/ssh/host_key.pub)
        echo "[127.0.0.1]:$port $key" >>"$keys/known_hosts"
        printf 'Host lab-%s\n  HostName 127.0.0.1\n  Port %s\n  User root\n' "$service" "$port"
        printf '  IdentityFile "%s"\n  IdentitiesOnly yes\n  UserKnownHostsFile "%s"\n' "$keys/id_ed25519" "$keys/known_hosts"
    done
} >"$config.new"
mv "$config.new" "$config"
urls=$(for service in $services; do printf ' ssh://lab-%s' "$service"; done)
echo "ready:$urls; try \`./lab machines$urls\`"
