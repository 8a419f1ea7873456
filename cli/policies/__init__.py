"""The commands of the policy's authors: print, check, prove, compare, replay and explain."""
