"""What only `weekly_license_audit` needs."""
