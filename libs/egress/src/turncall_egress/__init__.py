"""The wall for URLs that users supply, and the signing of requests to them."""
