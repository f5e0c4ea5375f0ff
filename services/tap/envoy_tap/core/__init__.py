"""The tap's core: what an exchange is, and how it is put together. Pure and synchronous."""
