#!/bin/sh
# Prepares a Vault or OpenBao server for Bifrost: a KV v2 engine, the policies beside this file, and an AppRole for workers.
# It may be run again at any time. It takes the CLI (bao or vault), VAULT_ADDR and a VAULT_TOKEN that may do this; and from
# Bifrost's own settings BIFROST_VAULT_MOUNT, BIFROST_VAULT_PREFIX and VAULT_AUTH_MOUNT, where they are not the defaults.
set -eu

mount=${BIFROST_VAULT_MOUNT:-secret}
prefix=${BIFROST_VAULT_PREFIX:-bifrost}
login=${VAULT_AUTH_MOUNT:-approle}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

fail() {
    echo "setup.sh: $1" >&2
    exit 1
}

case "$mount$prefix$login" in
    *[!A-Za-z0-9_./-]*) fail "mount, prefix and login path may have letters, digits and . _ - / only" ;;
esac
if command -v bao >/dev/null; then cli=bao
elif command -v vault >/dev/null; then cli=vault
else fail "neither bao nor vault is on the PATH"
fi
"$cli" token lookup >/dev/null || fail "no valid token for Vault: set VAULT_ADDR and VAULT_TOKEN"

# The options are printed as Go prints a map: map[version:2].
options=$("$cli" read -field=options "sys/mounts/$mount" 2>/dev/null) || options=
case "$options" in
    *version:2*) ;;
    *)
        if "$cli" read "sys/mounts/$mount" >/dev/null 2>&1; then
            fail "what is mounted at $mount is no KV v2 engine: set BIFROST_VAULT_MOUNT to another path"
        fi
        "$cli" secrets enable -path="$mount" -version=2 kv
        ;;
esac

for policy in bifrost-worker bifrost-operator; do
    sed -e "s#\"secret/\([a-z]*\)/bifrost/#\"$mount/\1/$prefix/#" "$here/$policy.hcl" | "$cli" policy write "$policy" -
done

"$cli" read "sys/auth/$login" >/dev/null 2>&1 || "$cli" auth enable -path="$login" approle
"$cli" write "auth/$login/role/bifrost-worker" token_policies=bifrost-worker token_no_default_policy=true \
    token_ttl=1h token_max_ttl=24h

cat <<END

Secrets lie at $mount/$prefix/<organization>/<name>.

Workers log in by these variables; the file holds what the command prints, and is for the worker's user only:
  VAULT_ROLE_ID=$("$cli" read -field=role_id "auth/$login/role/bifrost-worker/role-id")
  VAULT_SECRET_ID_FILE=/run/secrets/bifrost-secret-id
    $cli write -f -field=secret_id auth/$login/role/bifrost-worker/secret-id

Operators set secrets with a token of their own:
  $cli token create -policy=bifrost-operator -ttl=8h
END
