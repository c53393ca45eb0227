"""The service: submissions become running sweeps, each in a job of its own, and stay so until they have an outcome."""
