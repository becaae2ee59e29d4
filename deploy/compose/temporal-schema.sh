#!/bin/sh
# Temporal's schemas, made or brought up to date; what is there is left alone. The password comes in SQL_PASSWORD.
# https://docs.temporal.io/self-hosted-guide/upgrade-server
set -eu

sql_tool() {
    temporal-sql-tool --plugin postgres12 --ep postgres -p 5432 -u temporal "$@"
}

for schema in temporal visibility; do
    case $schema in
        temporal) database=temporal ;;
        visibility) database=temporal_visibility ;;
    esac
    sql_tool --db "$database" setup-schema -v 0.0
    sql_tool --db "$database" update-schema -d "/etc/temporal/schema/postgresql/v12/$schema/versioned"
done
