"""The cloud of the one-machine stack: a moto server whose accounts, models and messages survive a restart."""
