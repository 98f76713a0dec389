#!/bin/sh
# Runs once, when the database's volume is empty: the three logins, each with its own password, and the vector type.
# migrate owns the schema; api is under row-level security; system is the projector, the senders and the look-ups by number.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set migrate_password="$MIGRATE_PASSWORD" --set api_password="$API_PASSWORD" --set system_password="$SYSTEM_PASSWORD" <<'SQL'
CREATE ROLE migrate LOGIN PASSWORD :'migrate_password';
CREATE ROLE api LOGIN PASSWORD :'api_password';
CREATE ROLE system LOGIN PASSWORD :'system_password';
CREATE DATABASE turncall OWNER migrate;
\connect turncall
CREATE EXTENSION vector;
SQL
