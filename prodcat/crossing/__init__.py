"""`cross-platform`: every platform in turn as if it were new. Puts the parts together, as the modules at the top do; holds no figure of its own."""
