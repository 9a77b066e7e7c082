"""What a store holds that nothing needs any more: found, and removed."""
