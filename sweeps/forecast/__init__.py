"""Cost forecasts of a sweep: epochs with and without sharing, minus the recorded ones, and the time they take."""
