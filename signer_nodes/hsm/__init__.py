"""The node's PKCS#11 token: sealing key, identity key, sealed shares."""
