"""A small grammar over 30 signs with German and English sentences."""
