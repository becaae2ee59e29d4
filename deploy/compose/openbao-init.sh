#!/bin/sh
# Prepare OpenBao, once: initialise it, set up policies and the workers' login (deploy/vault/setup.sh), give the workers their
# credentials, and revoke the root token. Later runs find everything there and change nothing. With a BAO_TOKEN, which is what
# `bao operator generate-root` makes of the recovery key, policies and credentials are made anew, and that token is revoked.
#
# OPERATOR_DIR gets what operators need and workers must not see: the recovery key and a token with the policy bifrost-operator.
# WORKER_DIR gets the AppRole's ids.
set -eu
umask 077

answers() { bao status >/dev/null 2>&1 || [ $? -eq 2 ]; }  # 2: it is sealed or not initialised
unsealed() { bao status >/dev/null 2>&1; }
works() { bao token lookup >/dev/null 2>&1; }  # a new server is not active at once
wait_until() {
    tries=60
    until "$1"; do
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ]; then
            echo "OpenBao at $BAO_ADDR: waited a minute for it ($1)" >&2
            exit 1
        fi
        sleep 1
    done
}

wait_until answers

if [ -z "${BAO_TOKEN:-}" ] && [ -s "$WORKER_DIR/secret-id" ] && [ -s "$OPERATOR_DIR/token" ]; then
    wait_until unsealed
    echo "OpenBao is prepared already"
    exit 0
fi

if bao operator init -status >/dev/null 2>&1; then
    :  # exit status 2 says that it is not initialised
else
    bao operator init -recovery-shares=1 -recovery-threshold=1 >"$OPERATOR_DIR/init.txt.part"
    mv "$OPERATOR_DIR/init.txt.part" "$OPERATOR_DIR/init.txt"
fi
wait_until unsealed

BAO_TOKEN=${BAO_TOKEN:-$(sed -n 's/^Initial Root Token: //p' "$OPERATOR_DIR/init.txt" 2>/dev/null || true)}
if [ -z "$BAO_TOKEN" ]; then
    echo "OpenBao is initialised, its root token is revoked, and credentials are missing. Make a token with the recovery key" \
        "(bao operator generate-root) and run this again with it as BAO_TOKEN" >&2
    exit 1
fi
export BAO_TOKEN VAULT_TOKEN="$BAO_TOKEN"
wait_until works
sh "$SETUP_SCRIPT" >/dev/null

umask 022  # who mounts these volumes is another user; nobody else does
bao read -field=role_id "auth/approle/role/$WORKER_ROLE/role-id" >"$WORKER_DIR/role-id"
bao write -force -field=secret_id "auth/approle/role/$WORKER_ROLE/secret-id" >"$WORKER_DIR/secret-id.part"
mv "$WORKER_DIR/secret-id.part" "$WORKER_DIR/secret-id"
bao token create -field=token -policy=bifrost-operator -period=768h -orphan -display-name=operator >"$OPERATOR_DIR/token"
bao token revoke -self >/dev/null
if [ -f "$OPERATOR_DIR/init.txt" ]; then sed -i '/^Initial Root Token:/d' "$OPERATOR_DIR/init.txt"; fi
echo "OpenBao is prepared. Move the recovery key in $OPERATOR_DIR/init.txt to a safe place and delete the file."
