# An operator: what `bifrost secrets` does, which is to set, rotate, list and delete. Values go in, and cannot be read back.
# `setup.sh` puts another mount or prefix in the place of these.

path "secret/data/bifrost/*" {
  capabilities = ["create", "update"]
}

path "secret/metadata/bifrost/*" {
  capabilities = ["read", "list", "delete"]
}

path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}
