//! A disk in memory that remembers what was synced, fails on demand and can lose its power.
