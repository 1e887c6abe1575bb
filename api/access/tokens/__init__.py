"""Verification of JSON Web Tokens, which an identity service of the operator issues. Pure."""
