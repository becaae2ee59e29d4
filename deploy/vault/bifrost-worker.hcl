# A worker: it reads secrets below Bifrost's prefix by their names, and keeps its own token. It lists nothing, writes nothing,
# and sees nothing beside the prefix. `setup.sh` puts another mount or prefix in the place of these.

path "secret/data/bifrost/*" {
  capabilities = ["read"]
}

path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}
