#!/bin/sh
# Makes the two databases and their roles: `prefect` for the server, `forecasts` for the sink
# [publish.sql]. Run by the PostgreSQL image when its data folder is empty; run again, it changes
# what differs. Passwords are read from files and reach psql by standard input only.
set -eu
secrets=${FLEETCAST_SECRETS:-/run/secrets}

quoted() { # a password as an SQL literal
    printf "'%s'" "$(sed "s/'/''/g" "$secrets/$1")"
}

run() {
    psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" "$@"
}

role() { # NAME, FILE with its password
    {
        echo "SELECT 'CREATE ROLE $1' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$1')"
        echo '\gexec'
        echo "ALTER ROLE $1 WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD $(quoted "$2");"
    } | run --dbname postgres
}

database() { # NAME, OWNER
    {
        echo "SELECT 'CREATE DATABASE $1 OWNER $2' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '$1')"
        echo '\gexec'
        echo "REVOKE ALL ON DATABASE $1 FROM PUBLIC;"
    } | run --dbname postgres
}

role prefect PREFECT_SERVER_DATABASE_PASSWORD
role fleetcast_owner FLEETCAST_OWNER_SQL_PASSWORD
role fleetcast_publisher FLEETCAST_PUBLISH_SQL_PASSWORD
database prefect prefect
database forecasts fleetcast_owner
echo 'GRANT CONNECT ON DATABASE forecasts TO fleetcast_publisher;' | run --dbname postgres
