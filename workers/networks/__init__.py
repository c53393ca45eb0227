"""The networks of `workers.models` as Flax NNX modules, in files of the same names; `layers` has the parts they share."""
