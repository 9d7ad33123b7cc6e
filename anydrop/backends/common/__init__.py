"""What several backends stand on."""
