# OpenBao on one machine. Its storage is encrypted by a key that is itself encrypted by OPENBAO_SEAL_KEY, which comes from outside and
# lies on no volume of this stack: so OpenBao unseals itself at every start (https://openbao.org/docs/configuration/seal/static).
# Whoever has that key and the storage has every secret. Where there is a KMS or an HSM, use its seal in place of this one.
ui            = false
disable_mlock = true

storage "raft" {
  path                   = "/openbao/file"
  node_id                = "bifrost"
  performance_multiplier = 1
}

# Plain HTTP on a network of this stack that leads nowhere else; a listener that others reach needs a certificate.
listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "127.0.0.1:8201"
  tls_disable     = true
}

api_addr     = "http://openbao:8200"
cluster_addr = "http://127.0.0.1:8201"

seal "static" {
  current_key_id = "1"
  current_key    = "env://OPENBAO_SEAL_KEY"
}
