"""The verb that takes several sweeps as one study."""
