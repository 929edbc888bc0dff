"""Docker's extension points, a module each: its messages, then its interface. Imports none of them."""
