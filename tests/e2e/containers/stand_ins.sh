#!/usr/bin/env bash
# PostgreSQL's and Prometheus' images out of Debian's packages, for a machine that reaches no registry of images (as root).
# They answer to what compose.yaml and service.yaml ask of the public ones: users, folders, variables, health checks.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

debootstrap --variant=minbase --include=postgresql,prometheus bookworm "$work/root" >&2
tar -C "$work/root" --exclude=./var/cache --exclude=./var/lib/apt/lists -c . | docker import - debian-stand-in:local >&2

cat >"$work/entry" <<'END'
#!/bin/sh
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS -D "$PGDATA"
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D "$PGDATA" postgres
fi
exec "$@"
END
cat >"$work/promtool" <<'END'
#!/bin/sh
[ "$*" != "check healthy" ] || set -- query instant http://127.0.0.1:9090 1  # Debian's is older than that command
exec /usr/bin/promtool "$@"
END
cat >"$work/postgres" <<'END'
FROM debian-stand-in:local
COPY entry /usr/local/bin/
RUN chmod 755 /usr/local/bin/entry && usermod -u 999 postgres && groupmod -g 999 postgres && \
    rm -rf /var/lib/postgresql /run/postgresql && install -d -o postgres -g postgres /run/postgresql && \
    install -d -o postgres -g postgres -m 1777 /var/lib/postgresql/data && ln -s /usr/lib/postgresql/*/bin /opt/bin && \
    sed -ri "s!^#?listen_addresses.*!listen_addresses = '*'!" /usr/share/postgresql/*/postgresql.conf.sample
ENV PATH=/opt/bin:/usr/local/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/data LANG=C.UTF-8
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
ENTRYPOINT ["entry"]
CMD ["postgres"]
END
cat >"$work/prometheus" <<'END'
FROM debian-stand-in:local
COPY promtool /usr/local/bin/
RUN chmod 755 /usr/local/bin/promtool && install -d -o nobody /prometheus
ENV PATH=/usr/local/bin:/usr/bin:/bin
USER nobody
VOLUME /prometheus
WORKDIR /prometheus
ENTRYPOINT ["prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
END
for name in postgres prometheus; do
    docker build -q -t "$name-stand-in:local" -f "$work/$name" "$work"
done
