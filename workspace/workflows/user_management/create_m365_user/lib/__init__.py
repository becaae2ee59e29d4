"""What only `create_m365_user` needs."""
