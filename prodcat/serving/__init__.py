"""The cascade over HTTP. `schema`, `queue`, `limits` and `api` know no Ray; `deployment` puts them on Ray Serve."""
