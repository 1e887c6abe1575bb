"""Access control: identity and rights of a client, decided once per connection or request."""
