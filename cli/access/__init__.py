"""Commands of access control: keys, revocations and their record."""
