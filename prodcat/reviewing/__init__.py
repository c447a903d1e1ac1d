"""`prodcat review`: a page where a catalog manager sees proposals with pictures and decides. Puts parts together, as the modules at the top do."""
