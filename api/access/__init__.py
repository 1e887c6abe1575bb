"""Access control: the identity and the rights of a client, decided once per connection or request."""
