"""The cascade over HTTP. Only `deployment` knows Ray; all else is pure, and asks stage two through a function."""
