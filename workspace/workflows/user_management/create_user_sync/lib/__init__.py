"""What only `create_user_sync` needs."""
