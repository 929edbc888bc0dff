"""Docker's extension points, one module each: first the messages, then the interface. Imports none of them."""
